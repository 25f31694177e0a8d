"""Attention of a block of tokens over the filled part of a cache."""

from __future__ import annotations

from typing import Final

import torch
from torch.nn import functional as F

TABLE: Final = 32
"""Blocks of up to this many tokens take their mask from a table; longer ones, while a prompt is read, make it."""


class Attention:
    """Attention of grouped heads: all query heads of one key head are further rows of the same product.

    Args:
        groups: Query heads for each head of keys and values.
        capacity: The longest context.
        by_row: Attend with one token at a time, which gives the same bits whatever block the token came in.
        like: A tensor of the device and number format.
    """

    def __init__(self, groups: int, capacity: int, *, by_row: bool, like: torch.Tensor) -> None:
        self._groups = groups
        self._by_row = by_row
        # A mask for t tokens after n is columns capacity - n ... capacity + t: zeros, then the triangle of the block.
        self._table = _mask(TABLE, capacity, like).repeat_interleave(groups, dim=0)
        self._capacity = capacity

    def __call__(self, queries: torch.Tensor, cached: torch.Tensor, filled: int) -> torch.Tensor:
        """Return what each token takes from itself and from what stands before it.

        Args:
            queries: Shape (tokens, kv_heads * groups, head_dim).
            cached: Keys and values, the tokens' own included, shape (2, kv_heads, some more than needed, head_dim).
            filled: Tokens before the first of them.

        Returns:
            Shape (tokens, kv_heads * groups * head_dim).
        """
        tokens = queries.shape[0]
        if tokens > 1 and self._by_row:
            # Each row is copied, so that it begins where memory is aligned whatever row of a block it was.
            rows = (
                self._attend(queries[at : at + 1].clone(), cached[:, :, : filled + at + 1], None)
                for at in range(tokens)
            )
            return torch.cat([*rows])
        mask = None if tokens == 1 else self._mask(tokens, filled, queries)
        return self._attend(queries, cached[:, :, : filled + tokens], mask)

    def _attend(self, queries: torch.Tensor, seen: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        tokens, heads, width = queries.shape
        groups = self._groups
        if groups == 1:
            lined = queries.transpose(0, 1)
        else:
            lined = queries.view(tokens, heads // groups, groups, width).transpose(0, 1)
            lined = lined.reshape(heads // groups, tokens * groups, width)
        taken = F.scaled_dot_product_attention(lined[None], seen[:1], seen[1:], attn_mask=mask)[0]
        if groups == 1:
            return taken.transpose(0, 1).reshape(tokens, heads * width)
        return (
            taken.view(heads // groups, tokens, groups * width).transpose(0, 1).reshape(tokens, heads * width)
        )

    def _mask(self, tokens: int, filled: int, like: torch.Tensor) -> torch.Tensor:
        if tokens <= TABLE:
            ends = self._capacity
            return self._table[: tokens * self._groups, ends - filled : ends + tokens]
        return _mask(tokens, filled, like).repeat_interleave(self._groups, dim=0)


def _mask(tokens: int, filled: int, like: torch.Tensor) -> torch.Tensor:
    """Return zeros where a token may look, -inf in its future, shape (tokens, filled + tokens)."""
    future = torch.full((tokens, filled + tokens), -torch.inf, dtype=like.dtype, device=like.device)
    return future.triu_(filled + 1)
