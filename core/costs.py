"""Cost models: a fixed table, and one that learns from every round while text is generated.

What is modelled, in seconds: drafting (a per token, after Definition 1 of the ACL 2025 paper), catching up of a
draft that lags, and verification as a function of block length and context, b(length, context).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from paceline.core.curve import REFIT, YOUNG, Curve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.core.records import Round

PRIOR_DRAFT_SHARE = 0.1
"""A draft token costs this share of a plain step until it was measured: small drafts lie between .03 and .2."""

PRIOR_CATCH_UP_SHARE = 0.25
"""A lagging token costs this share of a drafted one until measured: it is read in a block, not one by one."""


@dataclass(frozen=True)
class CostTable:
    """Costs that never change, as measured elsewhere or made up.

    Attributes:
        verify: Seconds by block length; between lengths a straight line, beyond the last one its last slope.
        draft: Seconds a token, by draft.
        catch_up: Seconds a lagging token, by draft; missing means free.
        context: Seconds of verification added by each token of context.
    """

    verify: Mapping[int, float]
    draft: Mapping[str, float] = field(default_factory=dict)
    catch_up: Mapping[str, float] = field(default_factory=dict)
    context: float = 0.0

    def __post_init__(self) -> None:
        if not self.verify or min(self.verify) < 1:
            raise ValueError("a CostTable needs the verify time of at least one block length >= 1")

    def draft_s(self, draft: str, gamma: int, lag: int = 0) -> float:
        """Return the seconds to draft `gamma` tokens after catching up on `lag`."""
        return gamma * self.draft[draft] + lag * self.catch_up.get(draft, 0.0)

    def verify_s(self, length: int, context: int) -> float:
        """Return the seconds to verify `length` tokens after `context` tokens."""
        lengths = sorted(self.verify)
        flat = context * self.context
        if length in self.verify or len(lengths) == 1:
            return self.verify.get(length, self.verify[lengths[0]]) + flat
        high = min(max(bisect_left(lengths, length), 1), len(lengths) - 1)
        x0, x1 = lengths[high - 1], lengths[high]
        slope = (self.verify[x1] - self.verify[x0]) / (x1 - x0)
        return max(0.0, self.verify[x0] + slope * (length - x0)) + flat


class LiveCosts:
    """A cost model that learns from finished rounds; never knows more than the rounds it was shown.

    Timings are noisy and the first ones are slow, so every answer is a median of recent timings and the first
    timing of each kind is forgotten as soon as there is a second. Until anything is known a plain step costs 1
    and a draft token a tenth of it: policies compare costs, so the unit does not matter.
    """

    def __init__(self) -> None:
        self._verify = Curve()
        self._draft: dict[str, _Rate] = {}
        self._catch_up: dict[str, _Rate] = {}
        self._tables: dict[str, tuple[Sequence[float], float, Sequence[float]]] = {}

    def draft_s(self, draft: str, gamma: int, lag: int = 0) -> float:
        """Return the expected seconds to draft `gamma` tokens, first catching up on `lag` tokens.

        One lagging token is free: it is read together with the last token of the context.
        """
        rate = self._draft.get(draft)
        token_s = rate.value if rate else PRIOR_DRAFT_SHARE * self._verify.at(1, 0)
        if lag <= 1:
            return gamma * token_s
        behind = self._catch_up.get(draft)
        return gamma * token_s + lag * (behind.value if behind else PRIOR_CATCH_UP_SHARE * token_s)

    def verify_s(self, length: int, context: int) -> float:
        """Return the expected seconds to verify `length` tokens after `context` tokens."""
        return self._verify.at(length, context)

    def round_s(self, draft: str, longest: int, context: int) -> tuple[Sequence[float], float]:
        """Return the expected seconds of rounds of 0, 1, ..., `longest` tokens: see `Tabulated`."""
        token_s, (levels, context_s) = self.draft_s(draft, 1), self._verify.up_to(longest + 1, context)
        known = self._tables.get(draft)
        if known is None or known[0] is not levels or known[1] != token_s:
            known = levels, token_s, [gamma * token_s + level for gamma, level in enumerate(levels)]
            self._tables[draft] = known
        return known[2], context_s

    def observe(self, done: Round) -> None:
        """Learn from the times of a finished round; a round that was ended took its full time all the same."""
        self._learn(done.plan.draft, done.drafted, done.lag, done.context, done.draft_s, done.verify_s)

    def _learn(
        self, draft: str | None, drafted: int, lag: int, context: int, draft_s: float, verify_s: float
    ) -> None:
        self._verify.add(drafted + 1, context, verify_s)
        if not drafted or draft is None:
            return
        if lag <= 1:
            self._draft.setdefault(draft, _Rate()).add(draft_s / drafted)
        elif draft in self._draft:
            excess = draft_s - drafted * self._draft[draft].value
            self._catch_up.setdefault(draft, _Rate()).add(max(0.0, excess) / lag)


class _Rate:
    """Seconds per token: the median of the last timings, the very first one dropped once there are others."""

    def __init__(self) -> None:
        self._timings: deque[float] = deque(maxlen=31)
        self._count = 0
        self.value = 0.0

    def add(self, seconds: float) -> None:
        self._count += 1
        if self._count == 2:
            self._timings.clear()
        self._timings.append(seconds)
        if self._count <= YOUNG or self._count % REFIT == 0:
            self.value = median(self._timings)
