"""Measures a policy on a kind, in virtual time, with costs that it learns from noisy timings.

A policy meets the prices with chance, and so does its cost model. Its speed is taken without: in the seconds that the
same rounds take at the level of the prices. Noise, jitter and stalls are luck that strikes everybody alike, and the
best of many choices in hindsight would be the luckiest. A round's seconds are shared out evenly among its tokens.

What is asked of a kind, by sort:

    share     the speed as a share of that of the best static gamma of each text in hindsight, and of plain decoding
    useless   the speed as a share of plain decoding, and the same from token 300 on
    spell     tokens a plain step, at the price that a plain step has at that place: before the spell, in it, and in the
              300 tokens after; and how many tokens after the spell the policy is back. Back is the first token from
              which on both the next 100 tokens and all that follow run at 95 % of the speed that the best static gamma
              of the text without a spell has on the same tokens. After the spell is where the first round begins
              that does not have its prices
    cold      the speed of requests of 32 tokens to a policy that knows nothing, and to one that starts with what an
              earlier one kept; both as a share of that of a policy that went on learning, on the same texts
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import mean
from typing import TYPE_CHECKING

import numpy as np

from paceline.core.costs import LiveCosts
from paceline.lab.replay.simulator import LatencyClock, Simulator
from paceline.lab.replay.static_gamma import PLAIN, best, token_seconds
from paceline.lab.replay.tables import CostFactors
from paceline.lab.workloads.changing import DRAFT, WARM, Kind, even
from paceline.lab.workloads.synthetic import changing_header, changing_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from paceline.core.protocols import Policy
    from paceline.core.records import Round
    from paceline.lab.recording.model import Text

    Floats = NDArray[np.float64]

AFTER = 300
"""Tokens after a spell within which a policy must be back, and tokens at which a useless draft must be known."""

WINDOW, BACK = 100, 0.95
REQUESTS = 20
"""Cold requests of one seed: 32 tokens alone are a matter of luck."""

Build = Callable[[int], "Policy"]
Keep = Callable[["Policy", LiveCosts, "Policy", LiveCosts], None]
"""Carries what a policy and its cost model learnt over to new ones, as a state file does."""


def keep_state(policy: Policy, costs: LiveCosts, later: Policy, later_costs: LiveCosts) -> None:
    """Carry over what a state file holds: the state of the policy, and the costs."""
    later.load_state_dict(json.loads(json.dumps(policy.state_dict())))
    later_costs.load_state_dict(json.loads(json.dumps(costs.state_dict())))


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers of a policy on one kind.

    Attributes:
        kind: Which.
        of_seeds: By column, one number for each seed.
    """

    kind: Kind
    of_seeds: Mapping[str, Sequence[float]]

    def mean(self, column: str) -> float:
        """Return the mean over the seeds; infinite where one of them is."""
        return mean(self.of_seeds[column])

    @property
    def figure(self) -> float:
        """The number that must hold: of a spell the tokens of the slowest seed, else a mean share."""
        if self.kind.sort == "spell":
            return max(self.of_seeds["until back"])
        return self.mean(
            {"share": "of best static", "useless": "of plain from 300", "cold": "kept"}[self.kind.sort]
        )

    @property
    def holds(self) -> bool:
        """Return whether it is within the limit of the kind."""
        return self.figure <= AFTER if self.kind.sort == "spell" else self.figure >= self.kind.least


def measure(
    kind: Kind,
    build_policy: Build,
    costs_factory: Callable[[], LiveCosts] = LiveCosts,
    seeds: Sequence[int] | None = None,
    *,
    keep: Keep = keep_state,
) -> Numbers:
    """Play a kind under a policy, new for every text, and return what came of it.

    Args:
        kind: Which texts and prices.
        build_policy: Makes the policy from a seed.
        costs_factory: Makes the cost model that it is shown.
        seeds: Of policies and texts; as many as the kind asks for if left out.
        keep: What a policy of a later process starts with; of the sort "cold" only.
    """
    seeds = range(kind.seeds) if seeds is None else seeds
    if kind.sort == "cold":
        rows = [_cold(kind, build_policy, costs_factory, seed, keep) for seed in seeds]
    else:
        rows = [_row(kind, build_policy(seed), costs_factory(), seed) for seed in seeds]
    return Numbers(kind, {column: [row[column] for row in rows] for column in rows[0]})


def _row(kind: Kind, policy: Policy, costs: LiveCosts, seed: int) -> dict[str, float]:
    seconds, begins = _played(kind, policy, costs, seed)
    best_s, plain_s = _references(kind, seed)
    if kind.sort == "share":
        return {
            "of best static": float(best_s.sum() / seconds.sum()),
            "of plain": float(plain_s.sum() / seconds.sum()),
        }
    if kind.sort == "useless":
        return {
            "of plain": float(plain_s.sum() / seconds.sum()),
            "of plain from 300": float(plain_s[AFTER:].sum() / seconds[AFTER:].sum()),
        }
    begin, end = kind.spell[0], next(place for place in begins if place >= kind.spell[1])
    stretches = {"before": slice(begin), "in it": slice(begin, end), "next 300": slice(end, end + AFTER)}
    quiet = replace(kind, level=even)
    return {
        **{
            name: float(plain_s[stretch].sum() / seconds[stretch].sum())
            for name, stretch in stretches.items()
        },
        "until back": until_back(seconds[end:], _references(quiet, seed)[0][end:]),
    }


def until_back(seconds: Floats, right: Floats) -> float:
    """Return the first token from which on the next `WINDOW` and all that follow run at `BACK` of the right speed.

    Args:
        seconds: Of each token after a spell.
        right: The same at the right speed.
    """
    took, should = (np.concatenate([[0.0], np.cumsum(times)]) for times in (seconds, right))
    near = (should[WINDOW:] - should[:-WINDOW]) / (took[WINDOW:] - took[:-WINDOW])
    rest = (should[-1] - should[: len(near)]) / (took[-1] - took[: len(near)])
    back = np.flatnonzero((near >= BACK) & (rest >= BACK))
    return float(back[0]) if len(back) else float("inf")


def _cold(
    kind: Kind, build: Build, costs_factory: Callable[[], LiveCosts], seed: int, keep: Keep
) -> dict[str, float]:
    learnt, learnt_costs = build(seed), costs_factory()
    _played(kind, learnt, learnt_costs, seed, length=WARM)
    sums = dict.fromkeys(("steady", "cold", "kept"), 0.0)
    fresh = [build(seed) for _ in range(2 * REQUESTS)]
    costs = [costs_factory() for _ in fresh]
    for number in range(0, 2 * REQUESTS, 2):
        keep(learnt, learnt_costs, fresh[number], costs[number])
    for number in range(REQUESTS):
        text = REQUESTS * (seed + 1) + number
        sums["kept"] += float(_played(kind, fresh[2 * number], costs[2 * number], text)[0].sum())
        sums["cold"] += float(_played(kind, fresh[2 * number + 1], costs[2 * number + 1], text)[0].sum())
        sums["steady"] += float(_played(kind, learnt, learnt_costs, text)[0].sum())
    return {name: sums["steady"] / sums[name] for name in ("cold", "kept")}


def _played(
    kind: Kind, policy: Policy, costs: LiveCosts, seed: int, *, length: int | None = None
) -> tuple[Floats, list[int]]:
    """Let a policy play one text; return the seconds of each token at the level of prices, and where rounds begin."""
    met, level = _texts(kind, seed, length)
    header, rounds = changing_header(kind), list["Round"]()
    Simulator(header, policy, costs=costs, on_round=rounds.append).play(met)
    return _token_seconds(kind, rounds, level), [done.position for done in rounds]


def _texts(kind: Kind, seed: int, length: int | None = None) -> tuple[Text, Text]:
    """Return a text with the prices that rounds meet, and with their level."""
    bits, (level, met) = kind.bits(seed, length), kind.prices(seed, length)
    made = [changing_text(f"{kind.name}/{seed}", kind, bits, prices.changes()) for prices in (met, level)]
    return made[0], made[1]


def _token_seconds(kind: Kind, rounds: Sequence[Round], level: Text) -> Floats:
    header = changing_header(kind)
    clock = LatencyClock(header.costs)
    clock.factors = CostFactors(level, header.drafts)
    seconds = np.empty(len(level.tokens))
    for done in rounds:
        clock.place, end = done.position, done.position + done.emitted
        taken = clock.verify_s(done.drafted + 1, done.context)
        if done.plan.draft is not None:
            taken += clock.draft_s(DRAFT, done.drafted, done.lag)
        if done.scores:
            clock.place = min(end, len(seconds) - 1)
            taken += clock.draft_s(DRAFT, 1, done.drafts[DRAFT].lag + done.emitted)
        seconds[done.position : end] = taken / done.emitted
    return seconds


@lru_cache(maxsize=256)
def _references(kind: Kind, seed: int) -> tuple[Floats, Floats]:
    """Return the seconds of each token under the best static choice for one text, and under plain decoding."""
    every = token_seconds(changing_header(kind), _texts(kind, seed)[1])
    chosen = best([{static: float(seconds.sum()) for static, seconds in every.items()}])
    return every[chosen], every[PLAIN]
