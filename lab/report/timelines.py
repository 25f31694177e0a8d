"""Rounds of a few texts, under a policy and under the oracle: played again, since results keep only sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from paceline.lab.figures import ORACLE
from paceline.lab.replay.passes import play_pass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paceline.core.records import Round
    from paceline.lab.figures import Comparison, Row
    from paceline.lab.hindsight import Hindsight
    from paceline.lab.recording.model import Recording

LONGEST = 160
"""Tokens of a text that the timeline shows; further rounds would be too narrow to see."""


@dataclass(frozen=True, slots=True)
class Step:
    """One round in a picture: where it began, what was planned, and what came of it."""

    position: int
    gamma: int
    accepted: int
    emitted: int
    draft: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """One text, round by round, under a policy and under the oracle.

    Attributes:
        text, kind: Of the text.
        why: The rule by which it was chosen, in words that end the sentence "shown because ...".
        policy, oracle: The rounds.
        slower: Seconds under the policy over those of the oracle.
    """

    text: str
    kind: str
    why: str
    policy: Sequence[Step]
    oracle: Sequence[Step]
    slower: float


def timelines(recording: Recording, hindsight: Hindsight, comparison: Comparison, row: Row) -> list[Timeline]:
    """Return the texts where a policy is nearest to the oracle, at the median, and farthest from it."""
    seconds, oracle = comparison.times[row.policy], comparison.times[ORACLE]
    slower = {text: seconds[text].seconds / oracle[text].seconds for text in seconds if text in oracle}
    chosen = choose_texts(slower)
    played = _rounds(recording, row, set(chosen))
    return [
        Timeline(
            text,
            recording.texts[text].kind,
            why,
            played[text],
            [
                Step(choice.position, choice.gamma, choice.accepted, choice.emitted, choice.draft)
                for choice in hindsight.optimum(text).choices
                if choice.position < LONGEST
            ],
            slower[text],
        )
        for text, why in chosen.items()
    ]


def _rounds(recording: Recording, row: Row, texts: set[str]) -> dict[str, list[Step]]:
    """Play the first pass again, text after text, so that the policy has learnt what it had learnt there."""
    played: dict[str, list[Step]] = {}
    steps: list[Step] = []

    def note(done: Round) -> None:
        if done.position < LONGEST:
            draft = done.plan.draft or ""
            steps.append(Step(done.position, done.plan.gamma, done.accepted, done.emitted, draft))

    first = row.first_pass
    order, key = [measurement.text for measurement in first], first[0].key
    for measurement in play_pass(recording, row.options, order, key, on_round=note):
        if measurement.text in texts:
            played[measurement.text] = list(steps)
        steps.clear()
        if texts <= played.keys():
            break
    return played


def choose_texts(slower: Mapping[str, float]) -> dict[str, str]:
    """Return up to three texts with the reason for each: the nearest to the oracle, the median, the farthest."""
    ranked = sorted(slower, key=lambda text: (slower[text], text))
    if not ranked:
        return {}
    reasons = {
        ranked[0]: "the policy comes nearest to the oracle there",
        ranked[-1]: "the policy is farthest from the oracle there",
    }
    middle = ranked[len(ranked) // 2]
    reasons.setdefault(middle, "half of the texts are nearer to the oracle, and half are farther")
    return {text: reasons[text] for text in (ranked[0], middle, ranked[-1])}
