"""The sums and the solver, against Gauss-Jordan elimination written the long way.

TF-IDF on a tiny corpus, worked out from its definition.
"""

from math import log, sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.policies.prompt_accuracy import LeastSquares, TfIdf, bucket, factorise, triangle


def eliminate(matrix, right):
    """Solve a square system by Gauss-Jordan elimination with pivoting."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for i in range(len(rows)):
        pivot = max(range(i, len(rows)), key=lambda j: abs(rows[j][i]))
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [value / rows[i][i] for value in rows[i]]
        for j in range(len(rows)):
            if j != i:
                factor = rows[j][i]
                rows[j] = [a - factor * b for a, b in zip(rows[j], rows[i], strict=True)]
    return [row[-1] for row in rows]


def normal_equations(observations, ridge):
    """Return Z of Eq 10 from the observations themselves; the first weight bears no ridge."""
    size = len(observations[0][0])
    gram = [
        [sum(u[i] * u[j] for u, _ in observations) + (ridge if i == j and i else 0.0) for j in range(size)]
        for i in range(size)
    ]
    return eliminate(gram, [sum(u[i] * y for u, y in observations) for i in range(size)])


FEATURE = st.floats(0.0, 5.0).map(lambda x: round(x, 3))
OBSERVATION = st.tuples(st.tuples(st.just(1.0), FEATURE, FEATURE, FEATURE).map(list), st.floats(0.0, 1.0))


@settings(deadline=None)
@given(observations=st.lists(OBSERVATION, min_size=1, max_size=12), ridge=st.floats(0.01, 10.0))
def test_the_weights_are_those_of_the_normal_equations(observations, ridge):
    model = LeastSquares(4)
    for features, outcome in observations:
        model.add(features, outcome)
    assert model.count == len(observations)
    assert model.fit(ridge).weights == pytest.approx(
        normal_equations(observations, ridge), rel=1e-6, abs=1e-8
    )


@settings(deadline=None)
@given(observations=st.lists(OBSERVATION, min_size=1, max_size=12), asked=OBSERVATION)
def test_the_spread_is_the_length_of_the_features_under_the_inverse(observations, asked):
    model = LeastSquares(4)
    for features, outcome in observations:
        model.add(features, outcome)
    gram = [
        [sum(u[i] * u[j] for u, _ in observations) + float(i == j > 0) for j in range(4)] for i in range(4)
    ]
    solved = eliminate(gram, asked[0])
    expected = sum(u * x for u, x in zip(asked[0], solved, strict=True)) ** 0.5
    assert model.fit(1.0).spread(asked[0]) == pytest.approx(expected, rel=1e-6)


def test_a_direction_that_was_seen_often_is_known_better():
    model = LeastSquares(2)
    for _ in range(9):
        model.add([1.0, 1.0], 0.5)
    fit = model.fit(1.0)
    assert fit.spread([1.0, 1.0]) == pytest.approx(1 / 3)
    assert fit.spread([1.0, 0.0]) > 2 * fit.spread([1.0, 1.0])


def test_three_prompts_by_hand_without_a_ridge_to_speak_of():
    """y = 0.2 + 0.1 x goes through all three points, so least squares must find it."""
    model = LeastSquares(2)
    for x, y in ((1.0, 0.3), (3.0, 0.5), (6.0, 0.8)):
        model.add([1.0, x], y)
    assert model.gram == [3.0, 10.0, 46.0]
    assert model.moment == pytest.approx([1.6, 0.3 + 1.5 + 4.8])
    assert model.fit(1e-9).weights == pytest.approx([0.2, 0.1])


def test_after_one_observation_the_prediction_is_that_outcome_everywhere():
    model = LeastSquares(3)
    model.add([1.0, 4.0, 0.5], 0.7)
    intercept, *slopes = model.fit(1.0).weights
    assert intercept == pytest.approx(0.7)
    assert slopes == pytest.approx([0.0, 0.0])


def test_the_factorisation_refuses_a_matrix_without_a_unique_answer():
    with pytest.raises(ValueError, match="positive definite"):
        factorise([[1.0], [1.0, 1.0]])


def test_a_triangle_counts_the_numbers_on_and_below_the_diagonal():
    assert [triangle(size) for size in range(5)] == [0, 1, 3, 6, 10]


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
