"""A target that accepts by lot: the work of every round is real, the text is not.

Random weights make no draft that agrees with its target, so a stated share of the draft's tokens is accepted whatever
they are. Only the bench makes such a target; what it writes is INVALID, and everything it reports says `imposed`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.backends.graph.cuda.buffers import BufferPool
from paceline.backends.graph.cuda.target import CudaTarget, TargetBuffers

if TYPE_CHECKING:
    import torch

    from paceline.backends.graph.cuda.engine import BlockEngine


class ImposedBuffers(TargetBuffers):
    """Buffers whose verification tosses a coin for each proposed token, on the device."""

    draws = True

    def __init__(self, engine: BlockEngine, rate: float) -> None:
        super().__init__(engine)
        self._rate = rate

    def agreed(self, target_tokens: torch.Tensor, guess: torch.Tensor) -> torch.Tensor:
        """Accept by lot, and put what is accepted in the place of the target's own choice."""
        tossed = self.certain.new_empty(len(guess)).uniform_(generator=self.rng.generator) < self._rate
        target_tokens.copy_(guess.where(tossed, target_tokens))
        return tossed


class ImposedTarget(CudaTarget):
    """A target whose output is INVALID: of the draft's tokens it accepts each with probability `rate`."""

    def __init__(self, engine: BlockEngine, rate: float) -> None:
        super().__init__(engine)
        self.pool = BufferPool(lambda: ImposedBuffers(engine, rate), engine.runner)
