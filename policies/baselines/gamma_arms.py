"""Gammas as arms: the options of policies that choose among a few of them, and the ones a round leaves open."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from paceline.core.config.blocks import PolicyConfig
from paceline.core.errors import ConfigError
from paceline.core.records import Plan
from paceline.policies.gamma_scan import largest_at_most
from paceline.policies.options import DraftName, chosen_draft

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.core.records import Round, RoundStart
    from paceline.policies.throughput import ArmStatistics


class GammaArmsConfig(PolicyConfig):
    """Choose among a few gammas."""

    gammas: tuple[int, ...] = Field(
        default=(0, 1, 2, 3, 4, 6, 8, 12),
        min_length=2,
        description="The gammas to choose among, ascending; 0 is plain decoding.",
    )
    draft: DraftName = None

    @field_validator("gammas")
    @classmethod
    def _ascending(cls, gammas: tuple[int, ...]) -> tuple[int, ...]:
        if gammas[0] < 0 or list(gammas) != sorted(set(gammas)):
            raise ValueError("gammas must be at least 0, ascending, and each given once; sort them")
        return gammas


def open_arms(start: RoundStart, gammas: Sequence[int]) -> list[int]:
    """Return the places in `gammas` of those that may be planned; none if engine and budget leave other gammas only.

    An arm that does not fit the budget is not cut down to it: what a smaller gamma earns is no evidence about the arm.

    Raises:
        ConfigError: The engine runs a fixed set of gammas, and none of the arms that draft is one of them.
    """
    engine_gammas = start.capabilities.gammas
    if engine_gammas is not None and start.drafts and not set(engine_gammas).intersection(gammas) - {0}:
        raise ConfigError(
            f"the policy's option `gammas` is {', '.join(map(str, gammas))}, but this engine drafts "
            f"{', '.join(map(str, engine_gammas))} tokens a round; list some of those"
        )
    left = start.gammas(gammas[-1])
    return [arm for arm, gamma in enumerate(gammas) if gamma in left]


def arm_of(done: Round, gammas: Sequence[int]) -> int | None:
    """Return the place in `gammas` of what a round was planned with, whoever planned it.

    None if it is not one of them, or if a rule of the plan could stop the round before.
    """
    gamma = done.plan.gamma
    return gammas.index(gamma) if gamma in gammas and done.plan.stop is None else None


def plan_arm(start: RoundStart, options: GammaArmsConfig, arm: int | None, reason: str | None = None) -> Plan:
    """Return the plan of an arm; without one, that of the largest gamma the round allows below all arms."""
    smallest, largest = options.gammas[0], options.gammas[-1]
    gamma = largest_at_most(start.gammas(largest), smallest) if arm is None else options.gammas[arm]
    return Plan(gamma, chosen_draft(start, options.draft) if gamma else None, reason=reason)


def most_promising(
    rates: ArmStatistics, arms: Sequence[int], exploration: float, *, normalise: bool = True
) -> int:
    """Return the arm of most x_i + c sqrt(log(N + 1) / n_i), the first one among equals.

    n_i is the number of rounds of arm i, N that of all arms, and c is `exploration`. x_i is the rate of the arm,
    divided by the highest rate of the arms offered unless `normalise` is off. Every arm offered must have been tried.
    """
    log = math.log(rates.total_rounds() + 1.0)
    values = [rates.rate(arm) for arm in arms]
    unit = (max(values) or 1.0) if normalise else 1.0
    bounds = [
        value / unit + exploration * math.sqrt(log / rates.rounds_of(arm))
        for arm, value in zip(arms, values, strict=True)
    ]
    return arms[bounds.index(max(bounds))]
