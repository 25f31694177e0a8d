"""The keys and values of one request, in blocks, written at positions that only the device knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch

if TYPE_CHECKING:
    from paceline.backends.graph.shape import Shape

BLOCK: Final = 256
"""Tokens in a block. Each block of each head is a product of its own, so that a long context keeps a whole GPU busy
though only a few tokens ask (as in Flash-Decoding, Dao et al. 2023, https://pytorch.org/blog/flash-decoding/)."""


class BlockCache:
    """Room for a fixed number of tokens.

    A query at position p looks at positions 0 ... p, and each of these was written before, so what lies beyond is never
    read, and going back needs no work at all. The last position, `scratch`, takes what must be written somewhere and is
    of no use.

    Args:
        shape: Of the model.
        capacity: Tokens.
        like: A tensor of the wanted device and number format.
        block: Tokens in a block.

    Attributes:
        layers: For each layer one tensor of shape (2, blocks, kv_heads, block, head_dim): keys, then values.
        scratch: The position after the last useful one.
        room: Positions in all, a whole number of blocks.
    """

    __slots__ = ("_heads", "block", "capacity", "layers", "room", "scratch")

    def __init__(self, shape: Shape, capacity: int, like: torch.Tensor, *, block: int = BLOCK) -> None:
        blocks = capacity // block + 1  # one position more than `capacity`
        # Zeros, because attention multiplies also what it gives no weight: a NaN would spread.
        size = (2, blocks, shape.kv_heads, block, shape.head_dim)
        self.layers = tuple(
            torch.zeros(size, dtype=like.dtype, device=like.device) for _ in range(shape.layers)
        )
        self.capacity = capacity
        self.scratch = capacity
        self.block = block
        self.room = blocks * block
        self._heads = torch.arange(shape.kv_heads, device=like.device) * block

    def rows(self, positions: torch.Tensor) -> torch.Tensor:
        """Return where keys or values of tokens go, shape (tokens * kv_heads,), in a layer seen as rows of a head."""
        block = torch.div(positions, self.block, rounding_mode="floor")
        first = block * (len(self._heads) * self.block) + positions - block * self.block
        return (first[:, None] + self._heads).flatten()
