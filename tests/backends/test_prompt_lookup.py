"""Prompt lookup."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from paceline.backends.prompt_lookup import PromptLookup, PromptLookupConfig


def proposed(context, gamma=4, *, max_ngram=3, min_ngram=1):
    return list(
        PromptLookup(max_ngram=max_ngram, min_ngram=min_ngram).open(context).draft(gamma, None).tokens
    )


def by_definition(context, gamma, max_ngram, min_ngram):
    """Scan the context as the description says, without an index."""
    for n in range(max_ngram, min_ngram - 1, -1):
        tail = context[-n:]
        for end in range(len(context) - 1, n - 1, -1):
            if n <= len(context) and context[end - n : end] == tail:
                grown = list(context)
                while len(grown) < len(context) + gamma:
                    grown.append(grown[end + len(grown) - len(context)])
                return grown[len(context) :]
    return []


def test_the_longest_match_wins_over_a_later_shorter_one():
    assert proposed([1, 2, 3, 9, 8, 3, 7, 1, 2, 3], gamma=1) == [9]


def test_of_equally_long_matches_the_latest_wins():
    assert proposed([3, 5, 3, 6, 3], gamma=1, max_ngram=1) == [6]


def test_a_context_that_is_new_gives_nothing():
    assert proposed([1, 2, 3, 4]) == []


def test_a_repeating_text_is_continued_past_its_end():
    assert proposed([1, 2, 1, 2], gamma=5) == [1, 2, 1, 2, 1]


@settings(deadline=None)
@given(
    prompt=st.lists(st.integers(0, 3), min_size=1, max_size=12),
    blocks=st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=5), max_size=6),
    gamma=st.integers(1, 8),
    longest=st.integers(1, 4),
    data=st.data(),
)
def test_the_index_finds_what_a_scan_of_the_whole_context_finds(prompt, blocks, gamma, longest, data):
    shortest = data.draw(st.integers(1, longest))
    session = PromptLookup(max_ngram=longest, min_ngram=shortest).open(prompt)
    context = list(prompt)
    for block in blocks:
        session.advance(block)
        context += block

    expected = by_definition(context, gamma, longest, shortest)
    assert expected == list(session.draft(gamma, None).tokens)
    assert (session.match_length > 0) == bool(expected)
    assert session.match_length >= shortest or not expected
    scores = session.score(expected)
    for place, score in enumerate(scores):
        first = by_definition([*context, *expected[:place]], 1, longest, shortest)
        assert score == float(first == expected[place : place + 1])
    assert list(session.draft(gamma, None).tokens) == expected, "scoring must leave no trace"


def test_the_length_of_the_match_is_told_also_beyond_the_runs_that_are_indexed():
    text = list(range(50))

    assert PromptLookup(max_ngram=3).open([*text, 99, *text[:7]]).match_length == 7
    assert PromptLookup(max_ngram=3).open([*text, 99, *text]).match_length == 32
    assert PromptLookup(max_ngram=3).open(text).match_length == 0


def test_it_refuses_ngrams_in_the_wrong_order():
    with pytest.raises(ValidationError, match="min_ngram 4 is above max_ngram 2"):
        PromptLookupConfig(max_ngram=2, min_ngram=4)
