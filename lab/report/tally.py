"""Outcomes of a replay gathered by setting, policy and text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from paceline.core.errors import ConfigError
from paceline.lab.report.findings import Positions, Shares

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paceline.lab.replay.results import Outcome, Pass, Replay


@dataclass(frozen=True, slots=True)
class Player:
    """One policy in one setting, all its seeds together.

    Attributes:
        label, policy: As in `Pass`.
        outcomes: Of the first seed, in the order the texts were decoded.
        every: Of all seeds.
        seconds: By text, the mean over the seeds.
    """

    label: str
    policy: Mapping[str, Any]
    outcomes: Sequence[Outcome]
    every: Sequence[Outcome]
    seconds: Mapping[str, float]

    @property
    def fixed(self) -> bool:
        """Whether it plans the same gamma in every round."""
        return self.policy.get("name") == "static"

    @property
    def plain(self) -> bool:
        """Whether it never drafts."""
        return self.fixed and self.policy.get("gamma") == 0

    def total(self, name: str) -> float:
        """Return the sum of one figure over all outcomes."""
        return math.fsum(getattr(one, name) for one in self.every)

    @property
    def gamma(self) -> float:
        """The mean planned gamma."""
        rounds = self.total("rounds")
        planned = sum(gamma * count for one in self.every for gamma, count in one.gammas.items())
        return planned / rounds if rounds else 0.0

    @property
    def shares(self) -> Shares:
        """Seconds a token, by what they went into."""
        tokens = self.total("tokens")
        draft, verify, score = (self.total(name) / tokens for name in ("draft_s", "verify_s", "score_s"))
        return Shares(draft, verify, score, max(0.0, self.total("seconds") / tokens - draft - verify - score))

    @property
    def positions(self) -> Positions:
        """Acceptance by place in the proposal, in the rounds that were decoded."""
        longest = max((len(one.reached) for one in self.every), default=0)
        sums = [
            [sum(row[place] for row in rows if place < len(row)) for place in range(longest)]
            for rows in ([one.reached for one in self.every], [one.agreed for one in self.every])
        ]
        return Positions(self.label, *sums)


@dataclass(frozen=True, slots=True)
class Field:
    """All players of one setting.

    Attributes:
        order, start, seeds, draws: The setting.
        players: By label.
    """

    order: str
    start: str
    seeds: Sequence[int]
    draws: Sequence[int | None]
    players: Mapping[str, Player]

    @property
    def plain(self) -> Player:
        """The player that never drafts.

        Raises:
            ConfigError: There is none.
        """
        found = next((one for one in self.players.values() if one.plain), None)
        if found is None:
            raise ConfigError(
                f"the replay has no plain decoding in the setting {self.order}, {self.start}, "
                "which everything is compared with; replay with static-0 among the policies"
            )
        return found

    @property
    def texts(self) -> list[str]:
        """The names of the texts, in the order of plain decoding."""
        return [one.text for one in self.plain.outcomes]


def fields(replay: Replay) -> list[Field]:
    """Gather the passes by setting, in the order of the replay."""
    groups: dict[tuple[str, str], dict[str, list[Pass]]] = {}
    for one in replay.passes:
        groups.setdefault((one.order, one.start), {}).setdefault(one.label, []).append(one)
    return [
        Field(
            order,
            start,
            tuple(dict.fromkeys(one.seed for passes in by_label.values() for one in passes)),
            tuple(dict.fromkeys(one.draw for passes in by_label.values() for one in passes)),
            {label: _player(label, passes) for label, passes in by_label.items()},
        )
        for (order, start), by_label in groups.items()
    ]


def _player(label: str, passes: Sequence[Pass]) -> Player:
    every = [outcome for one in passes for outcome in one.outcomes]
    seconds: dict[str, list[float]] = {}
    for outcome in every:
        seconds.setdefault(outcome.text, []).append(outcome.seconds)
    means = {text: sum(some) / len(some) for text, some in seconds.items()}
    return Player(label, passes[0].policy, passes[0].outcomes, every, means)
