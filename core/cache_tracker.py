"""`CacheTracker`: the tokens of one request on one model, and which of them its cache holds.

The context (prompt + emitted tokens) is split into `cached` tokens that the cache holds for good and a `tail`
that it lacks. The tail always holds at least the last token of the context: its successor is what the next
forward pass is to find out. What is fed during a round is on `trial`, its first token being that last token, until
`settle` compares it with the tokens the round delivered.

    cache:    cached | trial                 length of the cache = cached + len(trial)
    context:  cached | tail                  length of the context = cached + len(tail)

A full acceptance, a rejection, an emission cut short, an idle round and a repeated attempt are all the same
comparison; no case is special. Of a tree on trial, the branch that agrees is kept.
"""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

UNREAD = -1
"""Stands for a token on trial whose value is still on the device; equal to no token."""


class CacheTracker:
    """Counts what is in the cache of one session.

    Args:
        prompt: The tokens of the prompt, at least one.

    Raises:
        ValueError: The prompt is empty.
    """

    __slots__ = ("cached", "parents", "tail", "trial")

    def __init__(self, prompt: Sequence[int]) -> None:
        if not prompt:
            raise ValueError("a prompt needs at least one token")
        self.cached = 0
        self.tail = list(prompt)
        self.trial: list[int] = []
        self.parents: list[int] | None = None

    @property
    def lag(self) -> int:
        """Tokens of the context, its last one not counted, that the cache lacks."""
        return len(self.tail) - 1

    @property
    def context(self) -> int:
        """Length of prompt and emitted tokens."""
        return self.cached + len(self.tail)

    @property
    def filled(self) -> int:
        """Length of the cache as it is now."""
        return self.cached + len(self.trial)

    def read(self, count: int) -> None:
        """Note that the first `count` tokens of the tail are in the cache for good.

        The last token of the context cannot be read: it opens the next trial.
        """
        assert not self.trial
        assert count < len(self.tail)
        del self.tail[:count]
        self.cached += count

    def forget(self, context: Sequence[int]) -> None:
        """Note that the cache was emptied, so that it lacks the whole context."""
        assert not self.trial
        self.cached = 0
        self.tail = list(context)

    def attempt(self, guess: Sequence[int] = (), parents: Sequence[int] | None = None) -> None:
        """Note that the whole tail and a guess are in the cache; its last token and the guess are on trial.

        Args:
            guess: A chain, or a tree whose nodes come after their parents.
            parents: Of a tree, the number of each node's parent in the guess; -1 is the last token of the context.
        """
        assert not self.trial
        self.read(self.lag)
        self.trial = [*self.tail, *guess]
        self.parents = None if parents is None else [*parents]

    def grow(self, nodes: Sequence[int], parents: Sequence[int]) -> None:
        """Note that further nodes of a tree are in the cache; parents are numbered as in `attempt`."""
        assert self.trial
        self.trial += nodes
        self.parents = [*(self.parents or ()), *parents]

    def extend(self) -> None:
        """Note that one more token is in the cache, whose value is not known yet; it is on trial too."""
        self.trial.append(UNREAD)

    def reveal(self, guess: Sequence[int]) -> None:
        """Fill in the values of all tokens on trial after the first."""
        assert len(guess) == len(self.trial) - 1
        self.trial[1:] = guess

    def path(self, emitted: Sequence[int]) -> Sequence[int]:
        """Return the places on trial of the tokens that `settle` would keep, first one first."""
        truth = [*self.tail, *emitted]
        if self.parents is None:
            agreed = sum(
                1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(self.trial, truth, strict=False))
            )
            return range(min(agreed, len(truth) - 1))
        places: list[int] = []
        nodes = enumerate(zip(self.trial, (None, *self.parents), strict=True))
        for place, (token, parent) in nodes:
            if len(places) == len(truth) - 1:
                break
            follows = not places if parent is None else bool(places) and parent + 1 == places[-1]
            if follows and token == truth[len(places)]:
                places.append(place)
        return places

    def settle(self, emitted: Sequence[int]) -> int:
        """Take in the tokens a round delivered; return how many tokens the cache must drop.

        Those of a chain are at its end. Of a tree, `path` tells which of the tokens on trial stay. With nothing
        emitted, the trial is undone.
        """
        if not self.trial:
            self.tail.extend(emitted)
            return 0
        keep = len(self.path(emitted))
        drop = len(self.trial) - keep
        self.cached += keep
        self.tail = [*self.tail, *emitted][keep:]
        self.trial, self.parents = [], None
        return drop
