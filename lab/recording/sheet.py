"""What rounds take on one machine: the measured times of a recording, as a cost model and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DraftTimes:
    """Seconds of one draft.

    Attributes:
        tokens: By gamma, seconds to draft that many tokens without any lag; between gammas a straight line, beyond
            the last one its last slope.
        catch_up: By lag, seconds that catching up adds; likewise, and 0 at lag 0.
    """

    tokens: Mapping[int, float]
    catch_up: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class CostSheet:
    """Seconds of everything in a round; a cost model (see `Costs`), with the loop's own share besides.

    Attributes:
        verify: By block length, seconds at `context`; between lengths a straight line, beyond the last its last slope.
        context: Tokens of context that `verify` holds for.
        context_s: Seconds that each further token of context adds.
        drafts: By name.
        overhead_s: What a round takes besides drafting and verifying, decisions of the policy not counted.
    """

    verify: Mapping[int, float]
    context: int
    context_s: float
    drafts: Mapping[str, DraftTimes]
    overhead_s: float

    def draft_s(self, draft: str, gamma: int, lag: int = 0) -> float:
        """Return the seconds to draft `gamma` tokens after catching up on `lag`."""
        raise NotImplementedError

    def verify_s(self, length: int, context: int) -> float:
        """Return the seconds to verify a block of `length` tokens after `context` tokens."""
        raise NotImplementedError
