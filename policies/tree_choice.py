"""Chances of a draft's second and further choices, and the tree that is worth most by them at the costs of now.

A tree holds, after one and the same token, the draft's first choice, its second, and so on. With a_d the probability
that the first choice at depth d is right (`paceline.policies.acceptance`), and h_j that choice j is right where all
before it were wrong, choice j at depth d is right with probability

    r_d0 = a_d,    r_dj = (1 - r_d0 - ... - r_d(j-1)) h_j,

and a node is reached with the product of these on its way. The n likeliest nodes, which are a tree since no product
grows, yield E = 1 + the sum of their products. So of each depth and each n the time of a token is

    (drafting so many levels + verifying n + 1 tokens) / E,      both as trees were seen to take,

and the least of all is the tree to plan: the next best node is worth adding as long as its chance is above the share of
the pass that it costs (Chen et al. 2024, Sequoia, https://arxiv.org/abs/2402.12374, has chances by rank and a size by
hardware; both are learnt on the way here, and so is the depth). The draft itself, which knows its probabilities, grows
the tree it thinks best within depth, nodes and width, and does better than chances that are the same everywhere; by
how much is measured, and counts when a tree is held against a chain.

A round tells of each token accepted which choice it was, and at its end how many choices were all wrong. A round that
was ended does not tell the latter.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from paceline.core.state.declared import Amount, Count, PolicyState, Unsaved
from paceline.policies.acceptance import Hazards, bucket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from paceline.core.protocols import Costs
    from paceline.core.records import Round, RoundStart

WIDTH = 4
"""Choices that are told apart: a fifth one is right where all before were wrong, about once in twenty rounds."""

LEAST = 0.01
"""Nodes that are less likely to be reached are not thought of: none pays."""

DEEPEST = 12
"""Levels that are thought of; fewer where `max_gamma` is."""

RENEWED = 32
"""Rounds for which the best depth and number of nodes are kept: working them out takes as long as a dozen plans."""

POOLING = 24.0
"""Observations that the mean of a choice is worth at each depth."""

ASSUMED = 3.0
ASSUMED_RIGHT = 0.1
"""Observations that are assumed of each further choice at first, and the share that was right: fewer than a model's
second choices, as many as the other continuations of a match. Better ones show at looks, within their budget."""

WEIGHT = 0.05
"""Of the latest tree in what trees yielded."""

CHAINS_FIRST = 8
"""Rounds of chains before the first tree of a draft is thought of, so that what it is held against is known."""

PLAIN_FIRST = 2
"""Rounds of plain decoding likewise: a timing that is far from what was assumed counts when a second confirms it."""

FLAT = 1.15
"""Trees are thought of where a pass of 16 draft tokens takes at most so many times the time of one of 6, as chains were
seen to take. Where it takes more, trying them costs more than they gain: on two CPU cores, where it takes 1.4 times as
long, `auto` with trees was behind by 2 to 11 % in three runs (docs/trees.md)."""

MARGIN = 0.1
"""Share of the time of a token that a tree must save against a chain before it takes its place; half of it to stay.
Trees that pay save a quarter and more where verification is flat."""


@dataclass(slots=True)
class Shape(PolicyState):
    """The best tree of a draft, and the tokens it yields; 0 nodes: not worked out, or none.

    Attributes:
        age: Rounds since it was worked out.
    """

    depth: Count = 0
    nodes: Count = 0
    tokens: Amount = 0.0
    age: Count = RENEWED


@dataclass(slots=True)
class TreeChoice(PolicyState):
    """Knowledge of the trees of one draft.

    Attributes:
        size: Depths that are counted: the largest gamma.
        discount: Weight of what is known, for each further round of a tree.
        choices: Of the second choice, the third, ..., how often it was right at each depth, and how often it was not.
        shapes: By bucket of match lengths.
        branches: False once a tree was planned and a chain drafted.
        worth: Tokens that trees yielded, in multiples of what was expected of them.
    """

    size: Unsaved[int]
    discount: Unsaved[float]
    choices: list[Hazards] = field(init=False)
    shapes: defaultdict[str, Shape] = field(init=False)
    branches: bool = True
    worth: Amount = 1.0

    def __post_init__(self) -> None:
        self.choices = [Hazards(self.size) for _ in range(1, WIDTH)]
        self.shapes = defaultdict(partial(Shape))

    def observe(self, done: Round) -> None:
        """Count the choices of a round that planned a tree."""
        tree = done.tree
        if tree is None:
            self.branches = self.branches and not done.drafted
            return
        shape = self.shapes[bucket(done.match_length)]
        if done.ended is None and (done.plan.gamma, done.plan.nodes) == (shape.depth, shape.nodes):
            self.worth += WEIGHT * ((done.accepted + 1.0) / shape.tokens - self.worth)
        for hazards in self.choices:
            hazards.age(self.discount)
        for depth, rank in enumerate(tree.ranks[: self.size]):
            self._count(depth, rank, right=True)
        last = len(tree.ranks)
        if done.rejected and last < self.size:
            self._count(last, tree.offered[-1], right=False)

    def chances(self, first: Iterable[float]) -> Iterator[list[float]]:
        """Yield the probability of each choice at depth 1, 2, ..., given those of the first choices."""
        means = []
        for known in self.choices:
            right, wrong = ASSUMED * ASSUMED_RIGHT, ASSUMED * (1.0 - ASSUMED_RIGHT)
            means.append((sum(known.accepted) + right, sum(known.refused) + wrong))
        for depth, prob in zip(range(min(self.size, DEEPEST)), first, strict=False):
            ranks, left = [prob], 1.0 - prob
            for known, (right, wrong) in zip(self.choices, means, strict=True):
                y, f = known.accepted[depth], known.refused[depth]
                ranks.append(left * (y + POOLING * right / (right + wrong)) / (y + f + POOLING))
                left -= ranks[-1]
            yield ranks

    def best(
        self, start: RoundStart, draft: str, first: Iterable[float], most: int, deepest: int
    ) -> tuple[int, int, float]:
        """Return depth, nodes and seconds a token of the best tree, without catching up; 0 nodes where there is none.

        Args:
            start: The round.
            draft: The draft that would propose it.
            first: The probability of its first choice at each depth; read where the shape is renewed.
            most: The largest number of nodes.
            deepest: The largest depth.
        """
        if not self.branches:
            return 0, 0, 0.0
        shape = self.shapes[bucket(start.drafts[draft].match_length)]
        shape.age += 1
        if shape.age >= RENEWED:
            self._renew(shape, start, draft, first, most)
        if not shape.nodes or shape.depth > deepest or shape.nodes > most:
            return 0, 0, 0.0
        draft_s, verify_s = tree_prices(start.costs)
        seconds = draft_s(draft, shape.depth) + verify_s(shape.nodes, start.context)
        return shape.depth, shape.nodes, seconds / (self.worth * shape.tokens)

    def _count(self, depth: int, rank: int, *, right: bool) -> None:
        """Count that the choices before `rank` were wrong, and that it was right; `right` is False where all were."""
        for choice in range(1, min(rank, WIDTH)):
            self.choices[choice - 1].refused[depth] += 1.0
        if right and 0 < rank < WIDTH:
            self.choices[rank - 1].accepted[depth] += 1.0

    def _renew(self, shape: Shape, start: RoundStart, draft: str, first: Iterable[float], most: int) -> None:
        shape.depth, shape.nodes, shape.tokens, shape.age = 0, 0, 0.0, 0
        if start.costs.verify_s(17, start.context) > FLAT * start.costs.verify_s(7, start.context):
            return
        draft_s, verify_s = tree_prices(start.costs)
        passes_s = [verify_s(nodes, start.context) for nodes in range(most + 1)]
        best_s = float("inf")
        for depth, reached in enumerate(likeliest(self.chances(first), most), start=1):
            tokens, levels_s = 1.0 + sum(reached[:depth]), draft_s(draft, depth)
            for nodes in range(depth + 1, len(reached) + 1):  # of as many nodes as levels it would be a chain
                tokens += reached[nodes - 1]
                token_s = (levels_s + passes_s[nodes]) / tokens
                if token_s < best_s:
                    best_s = token_s
                    shape.depth, shape.nodes, shape.tokens = depth, nodes, tokens


def likeliest(chances: Iterable[Sequence[float]], most: int) -> Iterator[list[float]]:
    """Yield for depth 1, 2, ... the probabilities of the likeliest nodes up to there, the likeliest first."""
    level, reached = [1.0], list[float]()
    for ranks in chances:
        level = sorted(
            (node * prob for node in level for prob in ranks if node * prob >= LEAST), reverse=True
        )[:most]
        if not level:
            return
        reached = sorted(reached + level, reverse=True)[:most]
        yield reached


def tree_prices(costs: Costs) -> tuple[Callable[[str, int], float], Callable[[int, int], float]]:
    """Return the functions for seconds of drafting, by draft and depth, and of verifying, by nodes and context."""
    if hasattr(costs, "verify_tree_s"):  # isinstance(costs, TreePriced) would take longer than the answer
        return costs.draft_tree_s, costs.verify_tree_s  # type: ignore[attr-defined]
    return costs.draft_s, lambda nodes, context: costs.verify_s(nodes + 1, context)
