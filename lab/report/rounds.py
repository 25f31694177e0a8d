"""The rounds of a few texts, played again, since a replay keeps only sums."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from paceline.lab.report.findings import Step, Timeline
from paceline.lab.report.plays import play_again

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paceline.core.records import Round
    from paceline.lab.oracle.optimum import Optimum
    from paceline.lab.recording.model import Recording
    from paceline.lab.report.tally import Field, Player

LONGEST = 160
"""Tokens of a text that a picture shows; further rounds would be too narrow to see."""


@dataclass(frozen=True, slots=True)
class Rounds:
    """Makes the timelines of a recording; called with the setting, the policy's label and the oracle's seconds.

    Attributes:
        recording: The texts.
        optima: The oracle's choices, by text.
    """

    recording: Recording
    optima: Mapping[str, Optimum]

    def __call__(self, field: Field, label: str, oracle: Mapping[str, float]) -> Sequence[Timeline]:
        """Return the texts where the policy is nearest to the oracle, at the median, and farthest from it."""
        player = field.players[label]
        slower = {text: player.seconds[text] / oracle[text] for text in player.seconds if text in oracle}
        chosen = choose(slower)
        played = self._play(field, player, set(chosen))
        return [
            Timeline(
                text,
                self.recording.texts[text].kind,
                why,
                played[text],
                [
                    Step(one.position, one.gamma, one.accepted, one.emitted, one.draft)
                    for one in self.optima[text].choices
                    if one.position < LONGEST
                ],
                slower[text],
            )
            for text, why in chosen.items()
        ]

    def _play(self, field: Field, player: Player, wanted: set[str]) -> dict[str, list[Step]]:
        """Play the pass again, text after text, so that the policy has learnt what it had learnt there."""
        found: dict[str, list[Step]] = {}
        order = [outcome.text for outcome in player.outcomes]
        rounds: list[Step] = []

        def note(done: Round) -> None:
            if done.position < LONGEST:
                draft = done.plan.draft or ""
                rounds.append(Step(done.position, done.plan.gamma, done.accepted, done.emitted, draft))

        for outcome in play_again(
            self.recording, player.policy, order, start=field.start, seed=field.seeds[0], on_round=note
        ):
            if outcome.text in wanted:
                found[outcome.text] = list(rounds)
            rounds.clear()
            if wanted <= found.keys():
                break
        return found


def choose(slower: Mapping[str, float]) -> dict[str, str]:
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
