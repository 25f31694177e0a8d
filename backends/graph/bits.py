"""The promise of `deterministic`: the same bits, whatever blocks a text is read in.

Floating-point sums depend on their order, and fast kernels choose it by the shape of their input. Two things keep it:
matrices packed for many rows, whose kernels sum each row alike for any number of rows from two on, and are given four
at least; and one attention call for each token. None of that is documented, so it is tried on the model
itself before it is promised: every block length that will ever run, bit by bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch

from paceline.core.errors import BackendError

if TYPE_CHECKING:
    from paceline.backends.graph.engine import GraphEngine

BLOCK: Final = 16
"""The longest block that runs; longer ones are cut. Twice the usual gamma, and few enough to try them all."""

TRIED: Final = 2 * BLOCK
"""Tokens that each block length is tried on."""


@torch.inference_mode()
def require_same_bits(engine: GraphEngine) -> None:
    """Read a text in blocks of every length up to `BLOCK`, and compare logits and cache with one token at a time.

    Raises:
        BackendError: Some bit differs.
    """
    count = min(TRIED, engine.max_context)
    text = torch.arange(1, count + 1, device=engine.device).mul_(7919).remainder_(engine.vocabulary)
    expected = _read(engine, text, 1)
    for length in range(2, min(BLOCK, count) + 1):
        found = _read(engine, text, length)
        if not all(torch.equal(one, other) for one, other in zip(expected, found, strict=True)):
            raise BackendError(
                f"graph: {engine.name} cannot be `deterministic` on this processor with torch {torch.__version__} and "
                f"{torch.get_num_threads()} threads: a block of {length} tokens gives other bits than single tokens. "
                "Leave `deterministic` out, or try `threads: 1`"
            )


def _read(engine: GraphEngine, text: torch.Tensor, length: int) -> list[torch.Tensor]:
    """Return the logits of all tokens, and what the cache holds of each layer."""
    cache = engine.new_cache()
    logits = []
    try:
        for block in torch.split(text, length):
            # The last row alone, as while a prompt is read, and then all of them, as in a verification.
            alone = engine.forward(cache, block, 1)
            cache.crop(-len(block))
            together = engine.forward(cache, block, len(block))
            logits.append(together if torch.equal(alone, together[-1:]) else together * torch.nan)
        return [torch.cat(logits), *(layer[:, :, : len(text)].clone() for layer in cache.layers)]
    finally:
        engine.free(cache)
