"""Places of several rows in one pass of a model that knows batches, positions and masks, and nothing of rows.

Rows differ in what they hold and in what they are given. Side by side in lanes of their own, the shorter ones are
filled up; one behind the other in a single lane nothing is filled up, but attention looks at the keys of all rows to
see those of one. What is less work is worked out from the lengths alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

KEYS_A_TOKEN: Final = 6
"""A further token is as much work as this many keys to look at, times the width of the model: a layer has some 12
times the square of the width in weights, and for each key there are twice the width in products."""


class Place(NamedTuple):
    """Place of one row in a pass.

    Attributes:
        lane: Its row of the batch.
        query, key: Where its new tokens, and where its keys begin there.
        filled: Tokens that it holds before.
        tokens: Tokens that it is given.
    """

    lane: int
    query: int
    key: int
    filled: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Places of all rows of a pass.

    Attributes:
        places: One for each row.
        lanes, tokens, keys: The form of the batch: rows, tokens of each, keys of each.
    """

    places: tuple[Place, ...]
    lanes: int
    tokens: int
    keys: int

    def work(self, width: int) -> int:
        """Return how much there is to compute, for a model of so much width."""
        return self.lanes * self.tokens * (KEYS_A_TOKEN * width + self.keys)

    def ids(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the tokens of all rows, given one after the other, where they belong: shape (lanes, tokens)."""
        spread = tokens.new_zeros((self.lanes, self.tokens))
        begin = 0
        for lane, query, _, _, count in self.places:
            spread[lane, query : query + count] = tokens[begin : begin + count]
            begin += count
        return spread

    def positions(self, device: torch.device) -> torch.Tensor:
        """Return the position of each token in its row, shape (lanes, tokens)."""
        made = torch.zeros((self.lanes, self.tokens), dtype=torch.long)
        for lane, query, _, filled, count in self.places:
            made[lane, query : query + count] = torch.arange(filled, filled + count)
        return made.to(device)

    def mask(self, like: torch.Tensor) -> torch.Tensor:
        """Return 0 where a token may look and the least number elsewhere, shape (lanes, 1, tokens, keys).

        What a token that fills up sees is of no account, but must be something: it sees the first key.
        """
        made = torch.full(
            (self.lanes, 1, self.tokens, self.keys), torch.finfo(like.dtype).min, dtype=like.dtype
        )
        made[:, :, :, 0] = 0.0
        for lane, query, key, filled, count in self.places:
            mine = made[lane, 0, query : query + count]
            mine[:, 0] = torch.finfo(like.dtype).min
            mine[:, key : key + filled] = 0.0
            new = mine[:, key + filled : key + filled + count]
            new.copy_(torch.full_like(new, torch.finfo(like.dtype).min).triu_(1))
        return made.to(like.device)

    def last_tokens(self, rows: Sequence[int]) -> tuple[list[int], list[int]]:
        """Return lane and column of the last `rows` tokens of each row, one row after the other."""
        pairs = [
            (place.lane, place.query + place.tokens - last + each)
            for place, last in zip(self.places, rows, strict=True)
            for each in range(last)
        ]
        return [lane for lane, _ in pairs], [column for _, column in pairs]


def layouts(filled: Sequence[int], counts: Sequence[int]) -> tuple[Layout, Layout]:
    """Return both ways to lay out rows that hold so much and are given so much: in lanes of their own, and in one."""
    rows = [*zip(filled, counts, strict=True)]
    lengths = [held + count for held, count in rows]
    apart = tuple(Place(lane, 0, 0, held, count) for lane, (held, count) in enumerate(rows))
    in_turn = tuple(
        Place(0, sum(counts[:row]), sum(lengths[:row]), held, count) for row, (held, count) in enumerate(rows)
    )
    return (
        Layout(apart, len(rows), max(counts), max(lengths)),
        Layout(in_turn, 1, sum(counts), sum(lengths)),
    )


def least_work(filled: Sequence[int], counts: Sequence[int], width: int) -> Layout:
    """Return the layout that is the least work for a model of so much width."""
    return min(layouts(filled, counts), key=lambda layout: layout.work(width))
