"""Times of rounds that were really taken, and how often they did what the recording says."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from paceline.core.errors import TraceError

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from paceline.core.decoder import SpeculativeDecoder
    from paceline.core.records import Round
    from paceline.lab.recording.model import Text

ENOUGH, MANY = 100, 0.05
"""With so many rounds checked, this share of them may differ: near-ties of floats are rare, other causes are not."""


@dataclass(frozen=True, slots=True)
class Timing:
    """One round that was taken.

    Attributes:
        draft: The draft that was asked; None in a plain round.
        drafted, lag, context: As in `Round`.
        looked: Whether signals were looked at.
        draft_s, verify_s: As in `Round`.
        rest_s: What the caller waited besides; None for the first round of a text, which reads the prompt.
    """

    draft: str | None
    drafted: int
    lag: int
    context: int
    looked: bool
    draft_s: float
    verify_s: float
    rest_s: float | None

    def to_json(self) -> list[Any]:
        """Return the values as a list, times in microseconds."""
        rest = None if self.rest_s is None else round(self.rest_s * 1e6, 1)
        times = [round(self.draft_s * 1e6, 1), round(self.verify_s * 1e6, 1), rest]
        return [self.draft, self.drafted, self.lag, self.context, int(self.looked), *times]

    @classmethod
    def from_json(cls, values: Sequence[Any]) -> Timing:
        """Return the timing that `to_json` made these values from."""
        draft, drafted, lag, context, looked, draft_us, verify_us, rest_us = values
        rest_s = None if rest_us is None else rest_us / 1e6
        return cls(draft, drafted, lag, context, bool(looked), draft_us / 1e6, verify_us / 1e6, rest_s)


@dataclass(slots=True)
class Checks:
    """Rounds that were compared with what the recording says of them.

    Attributes:
        rounds: How many were compared.
        different: Those that did something else, at most `SHOWN` of them, as JSON-able values.
        count: How many did.
    """

    rounds: int = 0
    count: int = 0
    different: list[Mapping[str, Any]] = field(default_factory=list)

    SHOWN = 20

    def add(self, text: Text, done: Round) -> bool:
        """Compare a round; tell whether the text is still the recorded one after it."""
        rest = len(text.tokens) - done.position
        same = done.tokens == tuple(text.tokens[done.position :][: done.emitted])
        outcome = (done.drafted, min(done.accepted, rest))
        expected = (0, 0)
        if done.plan.draft is not None:
            starts = text.drafts[done.plan.draft]
            drafted = min(done.plan.gamma, int(starts.offered[done.position]))
            expected = (drafted, min(drafted, int(starts.agreed[done.position])))
        self.rounds += 1
        if not same or outcome != expected:
            self.count += 1
            place = {"text": text.name, "place": done.position, "draft": done.plan.draft}
            counts = {"expected": list(expected), "found": list(outcome), "tokens_differ": not same}
            if len(self.different) < self.SHOWN:
                self.different.append(place | {"gamma": done.plan.gamma} | counts)
        return same

    def to_json(self) -> dict[str, Any]:
        """Return what was found."""
        return {"checked": self.rounds, "differed": self.count, "different": list(self.different)}

    def refuse(self) -> None:
        """Refuse a recording that says something else than what happens.

        Raises:
            TraceError: Many rounds did something else.
        """
        if self.rounds >= ENOUGH and self.count > MANY * self.rounds:
            raise TraceError(
                f"{self.count} of {self.rounds} real rounds did something else than was recorded, such as "
                f"{self.different[0]} (drafted and accepted). Replays would be wrong. Is the target or a draft not "
                "deterministic, or does a draft propose other tokens when asked for fewer? Leave it out (--drafts), or "
                "use a longer dtype"
            )


def timed(
    decoder: SpeculativeDecoder, prompt: Sequence[int], max_new_tokens: int, text: Text, checks: Checks | None
) -> list[Timing]:
    """Decode a prompt and return what its rounds took.

    Args:
        decoder: Under a policy that tries everything.
        prompt: The tokens.
        max_new_tokens: The limit on new tokens.
        text: What was recorded of the prompt.
        checks: Where rounds are compared with it; None where texts differ anyway, since tokens are drawn.
    """
    timings: list[Timing] = []
    rounds = cast("Generator[Round]", decoder.rounds(prompt, max_new_tokens=max_new_tokens))
    try:
        began = time.perf_counter()
        for done in rounds:
            waited = time.perf_counter() - began
            rest_s = max(0.0, waited - done.draft_s - done.verify_s) if timings else None
            draft = done.plan.draft if done.plan.gamma else None
            looked = bool(done.signals)
            times = (done.draft_s, done.verify_s, rest_s)
            timings.append(Timing(draft, done.drafted, done.lag, done.context, looked, *times))
            if checks is not None and not checks.add(text, done):
                checks = None
            began = time.perf_counter()
    finally:
        rounds.close()
    return timings
