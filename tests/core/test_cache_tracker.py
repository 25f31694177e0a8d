"""The tracker and the cache it counts never disagree, whatever a round does."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.core.cache_tracker import UNREAD, CacheTracker

TOKENS = st.integers(0, 2)  # so few that guesses agree by chance
TEXT = st.lists(TOKENS, max_size=5)
ROUND = st.tuples(st.booleans(), st.integers(0, 3), TEXT, TEXT, st.booleans())


class Cache:
    """A tracker beside the list of tokens that were really fed."""

    def __init__(self, prompt):
        self.context = list(prompt)
        self.fed = []
        self.tracker = CacheTracker(prompt)

    def attempt(self, guess):
        self.fed += [*self.tracker.tail, *guess]
        self.tracker.attempt(guess)

    def read(self, count):
        count = min(count, self.tracker.lag)
        self.fed += self.tracker.tail[:count]
        self.tracker.read(count)

    def settle(self, emitted):
        drop = self.tracker.settle(emitted)
        assert drop >= 0
        del self.fed[len(self.fed) - drop :]
        self.context += emitted

    def check(self):
        tracker = self.tracker
        assert self.fed == self.context[: len(self.fed)], (
            "the cache holds something that is not in the context"
        )
        assert len(self.fed) == tracker.cached == tracker.filled
        assert self.context[tracker.cached :] == tracker.tail
        assert tracker.lag == len(self.context) - 1 - len(self.fed) >= 0
        assert tracker.context == len(self.context)


@settings(deadline=None)
@given(st.lists(TOKENS, min_size=1, max_size=6), st.lists(ROUND, max_size=8))
def test_the_cache_is_always_a_prefix_of_the_context_that_lacks_the_last_token(prompt, rounds):
    cache = Cache(prompt)
    cache.check()
    for acts, ahead, guess, emitted, settles in rounds:
        if acts:
            cache.read(ahead)
            cache.check()
            cache.attempt(guess)
            assert cache.tracker.filled == len(cache.fed)
            if not settles:
                cache.settle([])
        cache.settle(emitted)
        cache.check()


@settings(deadline=None)
@given(st.lists(TOKENS, min_size=1, max_size=4), TEXT, TOKENS)
def test_a_token_that_agreed_is_never_fed_again(prompt, guess, bonus):
    cache = Cache(prompt)
    cache.attempt(guess)
    cache.settle([*guess, bonus])
    assert cache.tracker.tail == [bonus]


@st.composite
def trees(draw):
    """Tokens and their parents, no two of the same parent alike."""
    tokens, parents = [], []
    for _ in range(draw(st.integers(1, 8))):
        token, parent = draw(TOKENS), draw(st.integers(-1, len(tokens) - 1))
        if (token, parent) not in zip(tokens, parents, strict=True):
            tokens.append(token)
            parents.append(parent)
    return tokens, parents


@settings(deadline=None)
@given(st.lists(TOKENS, min_size=1, max_size=4), trees(), st.integers(0, 8), TEXT)
def test_of_a_tree_the_branch_that_was_delivered_is_kept(prompt, tree, first, emitted):
    cache, (tokens, parents) = Cache(prompt), tree
    cache.attempt([])
    cache.tracker.grow(tokens[:first], parents[:first])
    cache.tracker.grow(tokens[first:], parents[first:])
    at_once = CacheTracker(prompt)
    at_once.attempt(tokens, parents)
    assert at_once.path(emitted) == cache.tracker.path(emitted)

    path = cache.tracker.path(emitted)
    fed = [prompt[-1], *tokens]
    above = [None, *(parent + 1 for parent in parents)]
    assert all(above[below] == place for place, below in pairwise(path))
    drop, before = cache.tracker.settle(emitted), len(cache.fed) - 1
    assert drop == len(fed) - len(path)
    cache.fed = [*cache.fed[:before], *(fed[place] for place in path)]
    cache.context += emitted
    cache.check()
    if emitted and path and len(path) < len(emitted):
        followers = [token for token, parent in zip(tokens, parents, strict=True) if parent + 1 == path[-1]]
        assert emitted[len(path) - 1] not in followers, "a node that agreed is dropped"


@settings(deadline=None)
@given(st.lists(TOKENS, min_size=1, max_size=4), st.lists(TOKENS, min_size=1, max_size=4))
def test_an_attempt_fed_token_by_token_is_one_fed_at_once(prompt, guess):
    at_once, by_token = CacheTracker(prompt), CacheTracker(prompt)
    at_once.attempt(guess)
    by_token.attempt()
    for _ in guess:
        by_token.extend()
    by_token.reveal(guess)
    assert at_once.trial == by_token.trial
    assert at_once.settle([*guess, 1]) == by_token.settle([*guess, 1])


def test_tokens_nobody_has_read_are_dropped():
    tracker = CacheTracker([5])
    tracker.attempt()
    tracker.extend()
    tracker.extend()
    assert tracker.trial == [5, UNREAD, UNREAD]
    assert tracker.settle([7]) == 2
    assert (tracker.cached, tracker.tail) == (1, [7])


def test_after_a_full_acceptance_a_draft_lacks_the_token_it_never_read():
    tracker = CacheTracker([5])
    tracker.attempt([1, 2])
    assert tracker.settle([1, 2, 3, 4]) == 0
    assert tracker.lag == 1


def test_a_prompt_needs_a_token():
    with pytest.raises(ValueError, match="at least one token"):
        CacheTracker([])
