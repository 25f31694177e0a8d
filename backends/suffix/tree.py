"""A text's runs of tokens, each with what followed it: a suffix tree of the reversed text, cut at a depth.

The links of a suffix automaton are that tree. The automaton itself finds a match in fewer steps, but its counts take a
walk over every suffix that occurred before, which a text that repeats itself makes as long as the text; and it cannot
be cut at a depth, so it takes twice the memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NO_TOKEN: Final = -1
"""Stands between texts that do not follow one another; no context holds it, so that no match reaches across it."""


class Node:
    """A run of tokens that occurred more than once, each time before another token or after another one.

    Attributes:
        depth: Its tokens.
        end: The place after one of its occurrences.
        longer: By the token before it, the next longer run, or where that occurred only once, the place after it.
        followers: How often each token came next.
        total: How often any did.
        likeliest: The token that came next most often; of several the latest.
    """

    __slots__ = ("depth", "end", "followers", "likeliest", "longer", "total")

    def __init__(self, depth: int, end: int, followers: dict[int, int], total: int, likeliest: int) -> None:
        self.depth = depth
        self.end = end
        self.longer: dict[int, Node | int] = {}
        self.followers = followers
        self.total = total
        self.likeliest = likeliest

    def follow(self, token: int) -> None:
        """Count one more token that came next."""
        followers = self.followers
        times = followers[token] = followers.get(token, 0) + 1
        self.total += 1
        if times >= followers[self.likeliest]:
            self.likeliest = token


class Match(NamedTuple):
    """The longest run that ends a context and is in a tree.

    Attributes:
        length: Its tokens, 0 if there is none.
        path: The nodes that lead to it, the shortest first.
        tail: The longer run that it is a part of, if its own end is no node: a node, or the place after its only
            occurrence.
    """

    length: int
    path: list[Node]
    tail: Node | int | None

    def followers(self, tokens: Sequence[int]) -> dict[int, int]:
        """Return how often each token came next; `tokens` are those of the tree."""
        tail = self.tail
        if isinstance(tail, int):
            return {tokens[tail]: 1}
        return (self.path[-1] if tail is None else tail).followers

    def likeliest(self, tokens: Sequence[int]) -> int:
        """Return the token that came next most often; `tokens` are those of the tree."""
        tail = self.tail
        if isinstance(tail, int):
            return tokens[tail]
        return (self.path[-1] if tail is None else tail).likeliest


class SuffixTree:
    """The runs of at most `depth` tokens of a text that grows, each with what followed it.

    Runs that occurred once take no more than an entry of a table, so there is at most one node a token.
    """

    def __init__(self, depth: int) -> None:
        self.tokens: list[int] = []
        self._depth = depth
        self._root = Node(0, 0, {}, 0, NO_TOKEN)
        self._at_end: Match | None = None

    def append(self, token: int) -> None:
        """Take in a token that follows all before it. Other threads may look for matches meanwhile."""
        tokens, depth = self.tokens, self._depth
        end = len(tokens)
        length, path, tail = self.match_at_end()
        self._at_end = None
        tokens.append(token)
        for node in path:
            node.follow(token)
        parent = path[-1] if path else self._root
        if tail is None:
            if length < min(end, depth):
                parent.longer[tokens[end - 1 - length]] = end
            return
        # The run goes on differently here than where it occurred before, so it becomes a node of its own.
        if isinstance(tail, int):
            node, other = Node(length, end, {tokens[tail]: 1}, 1, tokens[tail]), tail
        else:
            node, other = Node(length, end, dict(tail.followers), tail.total, tail.likeliest), tail.end
        if length < depth:
            if other > length:
                node.longer[tokens[other - 1 - length]] = tail
            if end > length:
                node.longer[tokens[end - 1 - length]] = end
        node.follow(token)
        parent.longer[tokens[end - 1 - parent.depth]] = node

    def skip(self, tokens: Iterable[int]) -> None:
        """Take in tokens that do not follow what was there; they count only as what came before those after them."""
        self._at_end = None
        self.tokens.append(NO_TOKEN)
        self.tokens += tokens

    def match_at_end(self) -> Match:
        """Return the longest run that ends the text and occurred before."""
        if self._at_end is None:
            self._at_end = self.match(self.tokens)
        return self._at_end

    def match(self, context: list[int]) -> Match:
        """Return the longest run that ends a context and is in the tree."""
        tokens, size = self.tokens, len(context)
        limit = min(size, self._depth)
        longer, length = self._root.longer, 0
        path: list[Node] = []
        while length < limit:
            tail = longer.get(context[size - 1 - length])
            if tail is None:
                break
            end, most = (tail, tail) if isinstance(tail, int) else (tail.end, tail.depth)
            most = min(most, limit)
            length += 1
            while length < most and tokens[end - 1 - length] == context[size - 1 - length]:
                length += 1
            if isinstance(tail, int) or length < tail.depth:
                return Match(length, path, tail)
            path.append(tail)
            longer = tail.longer
        return Match(length, path, None)
