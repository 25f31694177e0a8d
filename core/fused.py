"""Costs of an engine that tells one time a step: verifying the last drafts and proposing the next ones, together.

Engines that serve many requests verify in one step what the step before drafted, and draft at its end what the next
one verifies. Of such a step only the sum is known,

    seconds = base + token_s * verified + block_s * [something was drafted] + draft_s * next

where `verified` are the tokens that all requests put through the target, drafts included, and `next` is the gamma
drafted at the end for the step to come. Both regressors are in the fit, so the price of a draft token is told from that
of verifying it as soon as gamma changes now and then; what the steps never told apart stays as it was assumed.
`block_s` lets verifying drafts at all cost something, since engines run one row a request by another path.

The fit is least squares over steps that fade, by coordinate descent on the normal equations from the last solution,
with no coefficient below 0 (Franc, Hlavac and Navara 2005, "Sequential coordinate-wise algorithm for non-negative least
squares"). A step that is far from what was expected counts only as far as four times the usual deviation (Huber's psi),
so that a pause of the machine moves nothing for long, and a lasting change is followed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from paceline.core.levels import PRIOR_SLOPE
from paceline.core.price import PRIOR_DRAFT_SHARE

if TYPE_CHECKING:
    from collections.abc import Sequence

COLD = 3
"""The first steps are left out: caches, kernels and allocators warm up."""

FADING = 0.99
"""Weight of all earlier steps, once per step: the fit rests on about the last hundred."""

YOUNG = 32
"""Until so many steps the fit is carried far; afterwards a little every step, from where it stands."""

SWEEPS = (8, 1)
"""Rounds over the coordinates per step, while young and afterwards."""

OUTLYING = 4.0
"""Times the usual deviation up to which a step counts in full."""

STEADY = 0.02
"""The usual deviation is at least this share of a step: a calm machine must not make every change an outlier."""


@dataclass(frozen=True, slots=True)
class StepCosts:
    """Costs of a round in steps of so many requests; the `costs` of a `RoundStart`, and `Tabulated`.

    A round's seconds are those of its step: all requests wait for it together.

    Attributes:
        base_s, token_s, block_s, draft_token_s: The coefficients, as they were when this was made.
        requests: How many are decoded together.
    """

    base_s: float
    token_s: float
    block_s: float
    draft_token_s: float
    requests: int

    def draft_s(self, draft: str, gamma: int, lag: int = 0) -> float:
        """Return the expected seconds to draft `gamma` tokens for all requests; what lags is not told apart."""
        return self.draft_token_s * gamma

    def verify_s(self, length: int, context: int) -> float:
        """Return the expected seconds to verify `length` tokens of each request; the context is not told apart."""
        block_s = self.block_s if length > 1 else 0.0
        return self.base_s + block_s + self.token_s * self.requests * length

    def round_s(self, draft: str, longest: int, context: int) -> tuple[Sequence[float], float]:
        """Return the expected seconds of rounds of 0, 1, ..., `longest` tokens, and 0: see `Tabulated`."""
        token_s = self.token_s * self.requests
        plain_s, more_s = self.base_s + token_s, token_s + self.draft_token_s
        first_s = plain_s + self.block_s
        return [plain_s, *(first_s + gamma * more_s for gamma in range(1, longest + 1))], 0.0


class FusedCosts:
    """Learns from the steps of an engine; answers for steps of any number of requests.

    Until anything is known a plain step costs 1, a draft token and a verified one the shares of it that `LiveCosts`
    assumes.
    """

    def __init__(self) -> None:
        self._coefficients = [1.0 - PRIOR_SLOPE, PRIOR_SLOPE, 0.0, PRIOR_DRAFT_SHARE]
        self._products = [[0.0] * 4 for _ in range(4)]  # sums of x_i x_j
        self._moments = [0.0] * 4  # sums of x_i seconds
        self._usual = 0.0  # deviation of a step
        self._steps = 0

    def of(self, requests: int) -> StepCosts:
        """Return the costs of rounds that this many requests take together."""
        base_s, token_s, block_s, draft_s = self._coefficients
        return StepCosts(base_s, token_s, block_s, draft_s, max(requests, 1))

    def observe(self, seconds: float, *, requests: int, verified: int, drafted: int) -> None:
        """Learn from one step that did nothing but decode.

        Args:
            seconds: What the step took.
            requests: How many were decoded.
            verified: Tokens that went through the target: one a request, and the drafts of the step before.
            drafted: The gamma that was drafted at the end, for the next step.
        """
        self._steps += 1
        if self._steps <= COLD + 1:  # the first one that counts gives the scale to start from
            self._assume(seconds, requests, verified, drafted)
        if self._steps <= COLD:
            return
        tokens, blocks, drafts = float(verified), 1.0 if verified > requests else 0.0, float(drafted)
        base_s, token_s, block_s, draft_s = self._coefficients
        expected = base_s + token_s * tokens + block_s * blocks + draft_s * drafts
        off = seconds - expected
        bound = OUTLYING * max(self._usual, STEADY * expected)
        counted = expected + min(max(off, -bound), bound)
        self._usual += 0.1 * (min(abs(off), bound) - self._usual)
        moments = self._moments
        for i, x in enumerate((1.0, tokens, blocks, drafts)):
            first, second, third, fourth = self._products[i]
            self._products[i] = [
                FADING * first + x,
                FADING * second + x * tokens,
                FADING * third + x * blocks,
                FADING * fourth + x * drafts,
            ]
            moments[i] = FADING * moments[i] + x * counted
        self._fit(SWEEPS[self._steps > YOUNG])

    def _assume(self, seconds: float, requests: int, verified: int, drafted: int) -> None:
        """Scale what is assumed so that it fits one step exactly."""
        each = max(requests, 1)
        shape = 1.0 + PRIOR_SLOPE * (verified / each - 1.0) + PRIOR_DRAFT_SHARE * drafted
        plain_s = seconds / shape
        self._coefficients = [
            (1.0 - PRIOR_SLOPE) * plain_s,
            PRIOR_SLOPE * plain_s / each,
            0.0,
            PRIOR_DRAFT_SHARE * plain_s,
        ]
        self._usual = 0.25 * seconds

    def _fit(self, sweeps: int) -> None:
        coefficients, products, moments = self._coefficients, self._products, self._moments
        for _ in range(sweeps):
            for i in range(4):
                row = products[i]
                if row[i] > 1e-9:  # else never seen, or all but forgotten: it stays as it is
                    slope = (
                        row[0] * coefficients[0]
                        + row[1] * coefficients[1]
                        + row[2] * coefficients[2]
                        + row[3] * coefficients[3]
                    )
                    coefficients[i] = max(0.0, coefficients[i] + (moments[i] - slope) / row[i])
