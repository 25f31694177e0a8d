"""TF-IDF on a tiny corpus, worked out from its definition."""

from math import log, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.policies.drafts.tf_idf import TfIdf, bucket

CORPUS = ([5, 5, 9], [9, 7], [7, 7, 7, 5])
BUCKETS = 64  # so many that 5, 7 and 9 have a bucket each


def reference(corpus, buckets):
    """Return the vector of the last prompt of a corpus, term by term."""
    terms = [[bucket(token, buckets) for token in prompt] for prompt in corpus]
    vector = [0.0] * buckets
    for term in set(terms[-1]):
        seen = sum(term in prompt for prompt in terms)
        tf = terms[-1].count(term) / len(terms[-1])
        vector[term] = tf * (1 + log((1 + len(corpus)) / (1 + seen)))
    length = sqrt(sum(value**2 for value in vector))
    return [value / length for value in vector]


def test_each_prompt_is_weighed_by_the_prompts_up_to_it():
    assert len({bucket(token, BUCKETS) for token in (5, 7, 9)}) == 3
    words = TfIdf(BUCKETS)
    for count, prompt in enumerate(CORPUS, start=1):
        assert words.read(prompt) == pytest.approx(reference(CORPUS[:count], BUCKETS))
    assert words.prompts == 3
    assert [words.frequencies[bucket(token, BUCKETS)] for token in (5, 7, 9)] == [2, 2, 2]


def test_the_second_prompt_by_hand():
    """9 was in both prompts, 7 only in this one, so 7 weighs 1 + ln 1.5 times as much."""
    words = TfIdf(BUCKETS)
    words.read(CORPUS[0])
    vector = words.read(CORPUS[1])
    rare, common = vector[bucket(7, BUCKETS)], vector[bucket(9, BUCKETS)]
    assert rare / common == pytest.approx(1 + log(1.5))
    assert rare**2 + common**2 == pytest.approx(1)


@given(corpus=st.lists(st.lists(st.integers(0, 200_000), min_size=1, max_size=30), min_size=1, max_size=6))
def test_tokens_that_share_a_bucket_count_as_one_term(corpus):
    words = TfIdf(4)
    found = [words.read(prompt) for prompt in corpus][-1]
    assert found == pytest.approx(reference(corpus, 4))


def test_a_prompt_without_tokens_has_no_direction():
    assert TfIdf(3).read([]) == [0.0, 0.0, 0.0]


@given(token=st.integers(0, 300_000), buckets=st.integers(1, 256))
def test_every_token_has_a_bucket(token, buckets):
    assert 0 <= bucket(token, buckets) < buckets


def test_neighbouring_tokens_spread_over_all_buckets():
    counts = [0] * 32
    for token in range(3200):
        counts[bucket(token, 32)] += 1
    assert min(counts) >= 90
    assert max(counts) <= 110
