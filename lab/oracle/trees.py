"""A family of trees for the optimum: each shape of it at every place of a text, with what it would have come to.

The family are the trees of depth 1 to `DEEPEST`, of each width from 2 to the choices that are told apart, and of 4, 8,
16, 32 and 64 nodes, grown as `paceline.lab.replay.trees` grows them. Other numbers of nodes are not looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from paceline.core.trees import depths
from paceline.lab.replay.trees import Ranks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from paceline.core.trees import TokenTree
    from paceline.lab.recording.model import Header, Text

DEEPEST = 8
NODES = (4, 8, 16, 32, 64)


class Shape(NamedTuple):
    """A tree of the family."""

    depth: int
    nodes: int
    width: int


@dataclass(frozen=True, slots=True)
class TreeCosts:
    """The trees of one draft on one text of n tokens, S of them.

    Attributes:
        name: The draft's.
        shapes: The trees.
        accepted: int (n, S). Tokens accepted of each at each place.
        seconds: (n, S). Of its round, without catching up; infinite where the budget is smaller than its depth.
    """

    name: str
    shapes: tuple[Shape, ...]
    accepted: NDArray[np.int64]
    seconds: NDArray[np.float64]


def tree_costs(text: Text, header: Header, name: str) -> TreeCosts | None:
    """Return the trees of a draft on a text; None where its further choices are not known."""
    known, choices = text.drafts[name].ranks, header.drafts[name].choices
    if known is None or choices < 2:
        return None
    ranks, profile, count = Ranks(known.tolist(), choices), header.costs, len(text.tokens)
    grown: dict[TokenTree, Shape] = {}
    for depth in range(1, min(DEEPEST, header.longest) + 1):
        for width in range(2, choices + 1):
            for nodes in NODES:
                tree = ranks.shape(depth, nodes, width)
                if len(tree) >= depth:
                    grown.setdefault(tree, Shape(max(depths(tree.parents)), len(tree), width))
    budget = text.max_new_tokens - np.arange(count) - 1
    factor, verify, token_s = np.ones(count), np.ones(count), np.zeros(count)
    if text.changes is not None:
        verify, token_s = (each.astype(np.float64) for each in (text.changes.verify, text.changes.token_s))
        factor = text.changes.drafts.get(name, factor).astype(np.float64)
    columns: list[Any] = []
    for shape in grown.values():
        passes = np.array(
            [profile.verify_s(shape.nodes + 1, text.prompt_tokens + start) for start in range(count)]
        )
        seconds = profile.draft_s(name, shape.depth) * factor + passes * verify + shape.nodes * token_s
        columns.append(np.where(shape.depth <= budget, seconds + profile.overhead_s, np.inf))
    accepted = [_accepted(tree, known) for tree in grown]
    return TreeCosts(name, tuple(grown.values()), np.stack(accepted, axis=1), np.stack(columns, axis=1))


def _accepted(tree: TokenTree, ranks: NDArray[np.int8]) -> NDArray[np.int64]:
    """Return how many tokens of a tree are accepted at each place."""
    count = len(ranks)
    # By node, the root first, and by rank, with -1 last: the number of the child, counted from 1.
    child = np.zeros((len(tree) + 1, max((*tree.tokens, *ranks.tolist()), default=0) + 2), np.int64)
    for node, (rank, parent) in enumerate(zip(tree.tokens, tree.parents, strict=True)):
        child[parent + 1, rank] = node + 1
    at, accepted = np.zeros(count, np.int64), np.zeros(count, np.int64)
    alive = np.ones(count, bool)
    padded = np.concatenate([ranks.astype(np.int64), np.full(count + 1, -1)])
    for depth in range(max(depths(tree.parents))):
        at = child[at, padded[np.arange(count) + depth]]
        alive &= at > 0
        accepted += alive
    return accepted
