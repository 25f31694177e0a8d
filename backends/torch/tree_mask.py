"""Positions and mask of a block that ends in a tree of tokens, which engines read in one pass.

A node sees what stands before the tree, its ancestors and itself, and stands where it would stand in a chain of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence


class TreeBlock(NamedTuple):
    """A block that is read after what a cache holds.

    Attributes:
        positions: The place of each token in its text.
        mask: Zeros where a token may look and -inf elsewhere, shape (tokens, tokens in the cache afterwards).
    """

    positions: list[int]
    mask: torch.Tensor


def tree_block(held: int, count: int, parents: Sequence[int], like: torch.Tensor) -> TreeBlock:
    """Return positions and mask of `count` tokens after `held` others; see `TreeEngine.feed_tree`.

    Args:
        held: Tokens in the cache.
        count: Tokens of the block.
        parents: Of the tree that the cache will end in; it may begin in the cache, in the block, or at its beginning.
        like: A tensor of the wanted device and number format.
    """
    total = held + count
    base = total - len(parents)
    # Of each node the number of its ancestors, and a row of the mask among the nodes.
    depths: list[int] = []
    rows: list[list[float]] = []
    for place, parent in enumerate(parents):
        depths.append(0 if parent < 0 else depths[parent] + 1)
        row = [-torch.inf] * len(parents) if parent < 0 else rows[parent].copy()
        row[place] = 0.0
        rows.append(row)
    lead = max(0, base - held)
    mask = torch.zeros((count, total), dtype=like.dtype, device=like.device)
    if rows:
        mask[lead:, base:] = torch.tensor(rows[lead - count :], dtype=like.dtype, device=like.device)
    if lead:
        mask[:lead] = torch.full_like(mask[:lead], -torch.inf).triu_(held + 1)
    return TreeBlock([*range(held, held + lead), *(base + depth for depth in depths[lead - count :])], mask)
