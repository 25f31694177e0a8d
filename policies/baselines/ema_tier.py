"""A few tiers of gamma, climbed and left again as a smoothed count of accepted tokens rises and falls.

For engines that run a handful of gammas, each compiled beforehand. The method is SGLang's adaptive speculative
decoding (https://github.com/sgl-project/sglang/pull/21599). After each round that drafted something, m of it
accepted, the mean is

    e <- (1 - alpha) e + alpha m.

After `warmup` rounds, and from then on every `every` rounds, the tier moves from C[i] to a neighbour or further:

    down to C[i-1] while e <= max(C[i-1] - 0.5, 0.5) + down_hysteresis;
    if it did not go down, up to C[i+1] while e > C[i] - 0.5 + up_hysteresis;
    from tier 0, where nothing is drafted and e stands still, always up to C[1].

Batches of different size have tiers, a mean and a count of rounds of their own, those of the slot with the largest
`batch` that is not above theirs. A slot starts in the middle of its tiers, with a mean one below that tier.

With `cost_aware` the tier that is scored best wins instead, as in https://github.com/sgl-project/sglang/pull/28045:

    score(C) = (1 + p_1 + ... + p_C) / seconds of a round of C,    0 scores 1 / seconds of a plain round,

where p_k is the share of the last 20 proposals of k or more tokens of which the first k were accepted, whatever the
batch; positions not seen follow a geometric series. The tier in force is left only for a score more than a tenth
higher; when it falls, the windows above it are forgotten. Tier 0 is left as above.

From SGLang: all of that, and the numbers. Ours: one pair of hystereses for all slots, the one SGLang has for its
first; seconds from the live cost model rather than a table made at start-up; tier 0 scored as well; on an engine
with a fixed set of gammas, tiers are those of the set up to the largest that the slot lists, and 0 if the slot
lists it; rounds that were ended, or proposed nothing, change nothing; a proposal shorter than its tier that was
accepted as a whole does not lower the mean; and p_k = p_1^k where only the first position was seen, since with p_1
for every k, as in the source, tier 1 is left for the largest again and again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, field
from itertools import accumulate, islice, pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, FiniteFloat

from paceline.core.base_policy import BasePolicy
from paceline.core.config.blocks import PolicyConfig, Strict
from paceline.core.records import Plan, Requirements
from paceline.core.state.declared import Amount, Count, PolicyState, Unsaved
from paceline.policies.gamma_scan import largest_at_most
from paceline.policies.options import DraftName, chosen_draft

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.core.records import Round, RoundStart


@dataclass(slots=True)
class Windows(PolicyState):
    """For each position, whether each of the last proposals that reached so far was accepted as far as that.

    Acceptance is not conditional here: what follows a refused token counts as not accepted. Windows are filled from
    the first position on, so those that hold something come before those that do not.

    Attributes:
        size: Proposals remembered for each position.
        positions: 1 (accepted) or 0 (not) of each.
    """

    size: Unsaved[int]
    positions: deque[deque[Annotated[int, Field(ge=0, le=1)]]] = field(default_factory=deque)

    def __bool__(self) -> bool:
        """True once anything was seen."""
        return bool(self.positions)

    def check(self) -> None:
        """Check that no window is empty, and forget what is too old."""
        if not all(self.positions):
            raise ValueError("the saved state is damaged: a window of positions is empty")
        self.positions = deque(deque(window, self.size) for window in self.positions)

    def count(self, accepted: int, drafted: int) -> None:
        """Count one proposal of `drafted` tokens, of which the target accepted the first `accepted`."""
        while len(self.positions) < drafted:
            self.positions.append(deque(maxlen=self.size))
        for position, window in enumerate(islice(self.positions, drafted)):
            window.append(int(position < accepted))

    def forget_from(self, position: int) -> None:
        """Forget this position and all later ones, so that what is no longer tried does not stay bad for ever."""
        while len(self.positions) > position:
            self.positions.pop()

    def expected_tokens(self, most: int) -> list[float]:
        """Return how many tokens rounds of gamma 0, 1, ... `most` yield, the target's own included.

        Beyond the last position that was seen, acceptance goes on falling at the mean rate at which it fell so far,
        with one position seen at that from certainty to there. Where nothing was seen, nothing is expected.
        """
        shares = [sum(window) / len(window) for window in islice(self.positions, most)]
        if shares and len(shares) < most:
            first, last, seen = shares[0], shares[-1], len(shares)
            fall = first if seen == 1 or not first else min((last / first) ** (1.0 / (seen - 1)), 1.0)
            shares += [last * fall**step for step in range(1, most - seen + 1)]
        tokens = list(accumulate(shares, initial=1.0))
        return tokens + [1.0] * (most + 1 - len(tokens))


WINDOW = 20  # proposals remembered for each position; SGLang's number
MARGIN = 1.1  # another tier must score this many times as much; SGLang's number


def _ascending(tiers: tuple[int, ...]) -> tuple[int, ...]:
    if any(low >= high for low, high in pairwise(tiers)):
        raise ValueError(f"tiers {list(tiers)} do not ascend; write {sorted(set(tiers))}")
    return tiers


class Slot(Strict):
    """The tiers of a range of batch sizes."""

    batch: int = Field(ge=1, description="The smallest batch of the slot; it ends where the next one starts.")
    tiers: Annotated[
        tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1), AfterValidator(_ascending)
    ] = Field(description="The gammas to choose from, ascending; 0 is plain decoding.")


def _in_order(slots: tuple[Slot, ...]) -> tuple[Slot, ...]:
    batches = [slot.batch for slot in slots]
    if batches[0] != 1 or any(low >= high for low, high in pairwise(batches)):
        raise ValueError(
            f"found slots for batches {batches}; start at 1, so that every batch has a slot, and let batches ascend"
        )
    return slots


def _default_slots() -> Any:
    return [
        {"batch": 1, "tiers": [1, 3, 5, 7]},
        {"batch": 8, "tiers": [0, 1, 3]},
        {"batch": 32, "tiers": [0, 1]},
        {"batch": 64, "tiers": [0]},
    ]


class EmaTierConfig(PolicyConfig):
    """Climb a ladder of gammas while the smoothed count of accepted tokens calls for it."""

    name: Literal["ema-tier"] = "ema-tier"
    slots: Annotated[tuple[Slot, ...], Field(min_length=1), AfterValidator(_in_order)] = Field(
        default_factory=_default_slots,
        description="For each range of batch sizes {batch: smallest, tiers: [gammas]}.",
    )
    alpha: float = Field(default=0.2, gt=0, le=1, description="Weight of the latest round in the mean.")
    warmup: int = Field(default=10, ge=0, description="Rounds of a slot before its tier may first move.")
    every: int = Field(default=5, ge=1, description="Rounds of a slot between two moves.")
    up_hysteresis: FiniteFloat = Field(
        default=0.0, description="Added to the mean it takes to climb: higher climbs later."
    )
    down_hysteresis: FiniteFloat = Field(
        default=-0.25, description="Added to the mean at which a tier is left downwards: lower stays longer."
    )
    cost_aware: bool = Field(
        default=False, description="Move to the tier of most expected tokens per measured second instead."
    )
    draft: DraftName = None

    def build(self, seed: int = 0) -> EmaTierPolicy:
        """Return a fresh policy."""
        return EmaTierPolicy(self)


@dataclass(slots=True)
class Standing(PolicyState):
    """State of a slot: its tier, the mean, and the rounds until the tier may move."""

    tier: Count
    mean: Amount
    left: Count


@dataclass(slots=True)
class EmaTierState(PolicyState):
    """The standing of each slot, and the windows."""

    slots: list[Standing]
    windows: Windows


class EmaTierPolicy(BasePolicy[EmaTierState]):
    """One standing a slot; moves are made when the next round of the slot is planned."""

    version = 2

    def __init__(self, config: EmaTierConfig) -> None:
        middles = [slot.tiers[len(slot.tiers) // 2] for slot in config.slots]
        left = config.warmup + config.every
        standings = [Standing(middle, max(middle - 1.0, 0.0), left) for middle in middles]
        super().__init__("ema-tier", EmaTierState(standings, Windows(WINDOW)))
        self._config = config
        self._batches = [slot.batch for slot in config.slots]
        # A batch may have changed between a plan and its rounds, so a plan says which slot it was made for.
        self._reasons = {f"batch-{batch}": slot for slot, batch in enumerate(self._batches)}
        self.requires = Requirements(latency="fused" if config.cost_aware else "none")

    def plan(self, start: RoundStart) -> Plan:
        """Move the tier of the batch's slot if it is time, then plan it, or what the budget leaves of it."""
        slot = max(bisect_right(self._batches, start.batch) - 1, 0)
        standing = self.state.slots[slot]
        draft = chosen_draft(start, self._config.draft)
        if draft is None:
            return Plan(0)
        tiers = _tiers(start, self._config.slots[slot].tiers)
        standing.tier = largest_at_most(tiers, standing.tier)
        if standing.left == 0:
            self._move(standing, tiers, start, draft)
        gamma = start.gammas(standing.tier)[-1]
        reason = f"batch-{self._batches[slot]}" if len(self._batches) > 1 else None
        return Plan(gamma, draft if gamma else None, reason=reason)

    def observe(self, done: Round) -> None:
        """Count a verdict, or a round that tier 0 left plain."""
        standing = self.state.slots[self._reasons.get(done.plan.reason or "", 0)]
        if done.ended is not None or not (done.drafted or standing.tier == done.plan.gamma == 0):
            return
        standing.left = max(standing.left - 1, 0)
        if done.drafted:
            self.state.windows.count(done.accepted, done.drafted)
            accepted = float(done.accepted)
            if done.accepted == done.drafted < standing.tier:
                accepted = max(accepted, standing.mean)
            standing.mean += self._config.alpha * (accepted - standing.mean)

    def _move(self, standing: Standing, tiers: Sequence[int], start: RoundStart, draft: str) -> None:
        standing.left = self._config.every
        before = standing.tier
        if before == 0:
            standing.tier = tiers[min(1, len(tiers) - 1)]
        elif self._config.cost_aware:
            standing.tier = _best_scored(self.state.windows, before, tiers, start, draft)
        else:
            standing.tier = self._by_mean(standing, tiers)
        if standing.tier < before:
            self.state.windows.forget_from(standing.tier)

    def _by_mean(self, standing: Standing, tiers: Sequence[int]) -> int:
        """Return the tier that the mean calls for."""
        options, mean = self._config, standing.mean
        before = place = tiers.index(standing.tier)
        while place > 0 and mean <= max(tiers[place - 1] - 0.5, 0.5) + options.down_hysteresis:
            place -= 1
        if place == before:
            while place < len(tiers) - 1 and mean > tiers[place] - 0.5 + options.up_hysteresis:
                place += 1
        return tiers[place]


def _best_scored(windows: Windows, before: int, tiers: Sequence[int], start: RoundStart, draft: str) -> int:
    """Return the tier of most tokens per second if it is better than the one before by more than the margin."""
    if not windows:  # another slot came down to tier 0 and forgot everything
        return before
    costs, tokens = start.costs, windows.expected_tokens(tiers[-1])
    token_s = {
        tier: (costs.verify_s(tier + 1, start.context) + (costs.draft_s(draft, tier) if tier else 0.0))
        / tokens[tier]
        for tier in tiers
    }
    best = min(tiers, key=token_s.__getitem__)
    return best if MARGIN * token_s[best] < token_s[before] else before


def _tiers(start: RoundStart, listed: tuple[int, ...]) -> Sequence[int]:
    """Return the tiers that the engine can run, ascending and never empty."""
    capabilities = start.capabilities
    zero = (0,) if listed[0] == 0 and capabilities.zero_gamma else ()
    if capabilities.gammas is None:
        drafting = tuple(tier for tier in listed if tier)
        smallest = 1
    else:
        drafting = tuple(gamma for gamma in capabilities.gammas if 0 < gamma <= listed[-1])
        smallest = next((gamma for gamma in capabilities.gammas if gamma), 1)
    return zero + drafting or (smallest,)
