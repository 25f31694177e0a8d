"""Trees of draft tokens: their shape, how they grow by the likeliest path first, and verdicts on them.

A tree is written as its tokens and their parents. Node i is draft token i; its parent is the number of the node that it
follows, or `ROOT`, the last token of the context, and comes before it. The nodes that follow the same node are its
children, and siblings of one another, in the order listed. A chain is the tree in which every node has one child.

    context ... the            tokens   cat dog sat ran
                 |- cat        parents   -1  -1   0   0
                 |   |- sat
                 |   `- ran    one pass verifies all four; where the target goes on with "cat ran" it accepts the
                 `- dog        path (0, 3), whose ranks among siblings are (0, 1)

A tree grows from the best path: of all tokens that could be added, the one comes next that is reached with the highest
probability under the draft (Li et al. 2024, https://arxiv.org/abs/2406.16858, section 4.1; for a number of nodes this
is the tree of most accepted tokens expected, Wang et al. 2024, https://arxiv.org/abs/2406.17276, theorem 3.3).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, cast

from paceline.core.errors import short_repr
from paceline.core.proposals import TokenVerdict
from paceline.core.records import TokenSignals, TreeOutcome

if TYPE_CHECKING:
    from paceline.core.optional_protocols import TreeProposal
    from paceline.core.proposals import DraftControl
    from paceline.core.records import Round
    from paceline.core.rejection_sampling import Probs, Rng

ROOT: Final = -1
"""The parent of the first tokens: the last token of the context."""


@dataclass(frozen=True, slots=True)
class TokenTree:
    """A tree of draft tokens on the host.

    Attributes:
        tokens: The draft tokens; a parent comes before its children.
        parents: For each of them the number of the one it follows, or `ROOT`.
        signals: Those of the first token of each level, if signals were asked for.
        draft_probs: For each token the distribution that it was drawn from: after temperature, cuts and the siblings
            drawn before it, whose probability is 0 where none is drawn twice. None: the tokens were not drawn, or
            nobody knows from what.
    """

    tokens: tuple[int, ...]
    parents: tuple[int, ...]
    signals: tuple[TokenSignals, ...] = ()
    draft_probs: tuple[Sequence[float], ...] | None = None

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True, slots=True)
class PathVerdict(TokenVerdict):
    """The verdict on a tree.

    Attributes:
        path: Numbers of the accepted nodes, the first one first.
    """

    path: tuple[int, ...] = ()


def depths(parents: Sequence[int]) -> list[int]:
    """Return the depth of each node, from 1: its draft tokens on the way from the context, itself included."""
    levels: list[int] = []
    for parent in parents:
        levels.append(1 if parent == ROOT else levels[parent] + 1)
    return levels


def children(parents: Sequence[int]) -> list[list[int]]:
    """Return the children of the root and of each node; those of node i stand at i + 1."""
    below: list[list[int]] = [[] for _ in range(len(parents) + 1)]
    for node, parent in enumerate(parents):
        below[parent + 1].append(node)
    return below


def tokens_to(tree: TreeProposal, node: int) -> tuple[int, ...]:
    """Return the draft tokens on the way to a node, itself included; none for the root."""
    way: list[int] = []
    while node != ROOT:
        way.append(tree.tokens[node])
        node = tree.parents[node]
    return tuple(reversed(way))


def tree_flaw(tokens: Sequence[int], parents: Sequence[object], width: int) -> str | None:
    """Return what is wrong with the shape of a tree, or None."""
    if len(parents) != len(tokens):
        return f"{len(tokens)} tokens of a tree need as many parents, found {len(parents)}"
    for node, parent in enumerate(parents):
        if not isinstance(parent, int) or not ROOT <= parent < node:
            return f"the parent of node {node} is a node before it, or {ROOT}; found {short_repr(parent)}"
    for siblings in children(cast("Sequence[int]", parents)):
        if len(siblings) > width:
            return f"it was asked for at most {width} tokens after the same one, and proposed {len(siblings)}"
        if len({tokens[node] for node in siblings}) < len(siblings):
            return f"nodes {siblings} follow the same token and are not all different"
    return None


def path_flaw(tree: TreeProposal, verdict: TokenVerdict) -> str | None:
    """Return what is wrong with the path that a verdict on a tree took, or None."""
    path = verdict.path if isinstance(verdict, PathVerdict) else ()
    if len(path) != verdict.accepted:
        return f"it accepted {verdict.accepted} tokens of a tree, by a path of {len(path)} nodes"
    before = ROOT
    for node, token in zip(path, verdict.tokens, strict=False):
        if not 0 <= node < len(tree.tokens) or tree.parents[node] != before:
            return f"the path {path} goes to {node}, which does not follow {before} in the tree"
        if tree.tokens[node] != token:
            return f"the path {path} goes by token {tree.tokens[node]}, and {token} was given"
        before = node
    return None


def outcome(parents: Sequence[int], path: Sequence[int]) -> TreeOutcome:
    """Return what came of a tree."""
    below = children(parents)
    way = [ROOT, *path]
    ranks = tuple(below[parent + 1].index(node) for parent, node in zip(way, path, strict=False))
    return TreeOutcome(len(parents), ranks, tuple(len(below[node + 1]) for node in way))


def leading_firsts(done: Round) -> tuple[int, bool]:
    """Return how many tokens a chain of first choices would have had accepted of a tree, and whether it was refused."""
    ranks = done.ranks
    firsts = next((depth for depth, rank in enumerate(ranks) if rank), len(ranks))
    return firsts, firsts < len(ranks) or done.rejected


def verify_tree_greedy(tree: TreeProposal, choice_after: Callable[[int], int]) -> PathVerdict:
    """Return the greedy verdict: the path that the target itself would have taken, and its choice after it.

    Args:
        tree: What was drafted.
        choice_after: The target's choice after a node, or after the context for `ROOT`.
    """
    below = children(tree.parents)
    path: list[int] = []
    while True:
        node = path[-1] if path else ROOT
        token = choice_after(node)
        agreed = next((child for child in below[node + 1] if tree.tokens[child] == token), None)
        if agreed is None:
            return PathVerdict(len(path), (*(tree.tokens[way] for way in path), token), tuple(path))
        path.append(agreed)


class Branch(Protocol):
    """The tokens that a draft could let follow one node, to be taken one by one."""

    @property
    def worth(self) -> float:
        """The probability, under the draft, that the next one is right; 0: there is none."""
        ...

    def take(self) -> tuple[int, float, Probs | None]:
        """Return the next one, its probability, and what it was drawn from if it was drawn."""
        ...


class Listed:
    """A branch of tokens that are known, the likeliest first, each with its probability."""

    def __init__(self, candidates: Sequence[tuple[int, float]]) -> None:
        self._candidates = candidates
        self._taken = 0

    @property
    def worth(self) -> float:
        """The probability of the next one."""
        return self._candidates[self._taken][1] if self._taken < len(self._candidates) else 0.0

    def take(self) -> tuple[int, float, None]:
        """Return the next one."""
        self._taken += 1
        return (*self._candidates[self._taken - 1], None)


class Drawn:
    """A branch of tokens that are drawn without replacement."""

    def __init__(self, probs: Probs, rng: Rng) -> None:
        self._probs = probs
        self._left = list(probs)
        self._rng = rng

    @property
    def worth(self) -> float:
        """The probability of all that has not been drawn yet."""
        return sum(self._left)

    def take(self) -> tuple[int, float, list[float]]:
        """Draw the next one."""
        total = sum(self._left)
        drawn_from = [prob / total for prob in self._left]
        token = self._rng.draw(drawn_from)
        self._left[token] = 0.0
        return token, self._probs[token], drawn_from


@dataclass(slots=True)
class _Open:
    """A node that can have more children.

    Attributes:
        node: Its number.
        way: The draft tokens on the way to it, itself included.
        reached: The probability of that way, under the draft.
        branch: What may follow.
        taken: Its children so far.
        age: Of this entry among all there were.
    """

    node: int
    way: tuple[int, ...]
    reached: float
    branch: Branch
    taken: int
    age: int

    @property
    def order(self) -> tuple[float, int]:
        """The likeliest next child first, and among equals the first to be there."""
        return -self.reached * self.branch.worth, self.age

    def __lt__(self, other: _Open) -> bool:
        return self.order < other.order


def grow_tree(
    branch: Callable[[tuple[int, ...]], Branch],
    gamma: int,
    nodes: int,
    width: int,
    control: DraftControl | None = None,
    signals: Callable[[int, int, tuple[int, ...]], TokenSignals] | None = None,
) -> TokenTree:
    """Draft a tree by the best path first; every token that was drawn is in it.

    Args:
        branch: What may follow, by the draft tokens on the way.
        gamma: The largest depth.
        nodes: The most draft tokens.
        width: The most children of a node.
        control: Looks at the first token of each level, and ends the tree with it where it says stop.
        signals: The signals of such a token, by its position, itself and the draft tokens before it.
    """
    tokens: list[int] = []
    parents: list[int] = []
    drawn_from: list[Probs | None] = []
    seen: list[TokenSignals] = []
    frontier = [_Open(ROOT, (), 1.0, branch(()), 0, 0)]
    while frontier and len(tokens) < nodes:
        best = heapq.heappop(frontier)
        if len(best.way) >= gamma or best.taken == width or not best.branch.worth > 0.0:
            continue
        token, prob, probs = best.branch.take()
        node, way = len(tokens), (*best.way, token)
        tokens.append(token)
        parents.append(best.node)
        drawn_from.append(probs)
        if control is not None and signals is not None and control.signals and len(best.way) == len(seen):
            seen.append(signals(len(best.way), token, best.way))
            if not control.goes_on(seen[-1]):
                gamma = len(seen)
        best.taken, best.age = best.taken + 1, 2 * node + 1
        heapq.heappush(frontier, best)
        if len(way) < gamma:
            heapq.heappush(frontier, _Open(node, way, best.reached * prob, branch(way), 0, 2 * node + 2))
    known = tuple(probs for probs in drawn_from if probs is not None)
    drawn = known if tokens and len(known) == len(tokens) else None
    return TokenTree(tuple(tokens), tuple(parents), tuple(seen), drawn)
