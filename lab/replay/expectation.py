"""Expected time of static choices on texts whose tokens were drawn: exact, without drawing anything.

Given the text, the tokens that a round accepts are geometric with the chances of its places, cut at what was drafted:

    P(accepted = k) = c[p] ... c[p+k-1] (1 - c[p+k])  for k < drafted,    c[p] ... c[p+drafted-1]  for k = drafted

The chance that some round starts at a place, and what the draft lags there, follow from the places before it. With both
the expected seconds and counts are sums over places.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from paceline.lab.replay.laid import LaidChanges

if TYPE_CHECKING:
    from paceline.lab.recording.model import Header, Text
    from paceline.lab.replay.sweep import Choice


@dataclass(frozen=True, slots=True)
class Expected:
    """Means over all ways in which the rounds of one text could go under one static choice.

    Attributes:
        tokens: Of the text; they are certain.
        rounds, drafted, accepted, seconds: As in `Outcome`.
    """

    text: str
    kind: str
    varies: bool
    tokens: int
    rounds: float
    drafted: float
    accepted: float
    seconds: float


def expected(header: Header, text: Text, choice: Choice) -> Expected:
    """Return the means of a static choice on one text.

    Where agreement is certain, as under greedy decoding, the means are what the sweep finds.
    """
    end, sheet = len(text.tokens), header.costs
    info = header.drafts[choice.draft] if choice.draft is not None else None
    changes = LaidChanges(text, header.drafts)
    rounds = drafted_sum = accepted_sum = seconds = 0.0
    # By place: the lag there with the chance that a round starts there with it.
    starts: list[dict[int, float]] = [{} for _ in range(end)]
    starts[0][text.prompt_tokens - 1 if info is not None and info.caches else 0] = 1.0
    for place in range(end):
        planned = min(choice.gamma, text.wanted - place - 1) if info is not None else 0
        drafted, ways = _ways(text, choice, place, planned)
        for lag, chance in starts[place].items():
            rounds += chance
            drafted_sum += chance * drafted
            draft_s = sheet.draft_s(choice.draft or "", drafted, lag) if planned > 0 else 0.0
            if choice.draft is not None:
                draft_s *= changes.drafts[choice.draft][place]
            verify_s = sheet.verify_s(drafted + 1, text.prompt_tokens + place) * changes.verify[place]
            verify_s += drafted * changes.token_s[place]
            seconds += chance * (draft_s + verify_s + sheet.overhead_s)
            for accepted, share in enumerate(ways):
                accepted_sum += chance * share * accepted
                after = place + accepted + 1
                if share == 0.0 or after >= end:
                    continue
                behind = 0
                if info is not None and info.caches:
                    behind = (info.short if accepted == drafted else 0) if drafted else lag + accepted + 1
                starts[after][behind] = starts[after].get(behind, 0.0) + chance * share
        starts[place].clear()
    return Expected(text.name, text.kind, text.varies, end, rounds, drafted_sum, accepted_sum, seconds)


def _ways(text: Text, choice: Choice, place: int, planned: int) -> tuple[int, list[float]]:
    """Return how many tokens are drafted at a place, and the chance of each number of tokens accepted."""
    if choice.draft is None or planned <= 0:
        return 0, [1.0]
    starts = text.drafts[choice.draft]
    drafted = min(planned, int(starts.offered[place]))
    if starts.chance is None:
        return drafted, [0.0] * min(drafted, int(starts.agreed[place])) + [1.0]
    ways, reached = [], 1.0
    # No token is accepted beyond the end of the text.
    most = min(drafted, len(text.tokens) - place)
    for chance in starts.chance[place : place + most].tolist():
        ways.append(reached * (1.0 - chance))
        reached *= chance
    return drafted, [*ways, reached]
