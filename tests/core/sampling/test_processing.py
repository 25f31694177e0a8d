"""What is done to scores in plain Python; tests/backends/transformers compares it with transformers."""

import math

import pytest

from paceline.core.sampling.processing import chances, process, softmax
from paceline.core.sampling.settings import Sampling

SCORES = [math.log(share) for share in (0.4, 0.3, 0.2, 0.1)]


def shares(context=(), **options):
    sampling = Sampling(**options)
    return chances(process(SCORES, sampling, context), sampling)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, [0.4, 0.3, 0.2, 0.1]),
        ({"top_k": 2}, [4 / 7, 3 / 7, 0, 0]),
        ({"top_k": 9}, [0.4, 0.3, 0.2, 0.1]),
        ({"top_p": 0.6}, [4 / 7, 3 / 7, 0, 0]),
        ({"top_p": 0.01}, [1, 0, 0, 0]),
        ({"top_p": 1.0}, [0.4, 0.3, 0.2, 0.1]),
        ({"min_p": 0.5}, [4 / 9, 3 / 9, 2 / 9, 0]),
        ({"min_p": 1.0}, [1, 0, 0, 0]),
        ({"temperature": 0.5}, [16 / 30, 9 / 30, 4 / 30, 1 / 30]),
        ({"temperature": 0.5, "top_p": 0.8}, [16 / 25, 9 / 25, 0, 0]),
        ({"temperature": 0.0}, [1, 0, 0, 0]),
        # -log p is 0.92, 1.20, 1.61, 2.30 and the entropy 1.28: 0.3 is the most typical one, then 0.2, then 0.4.
        ({"typical_p": 0.25}, [0, 1, 0, 0]),
        ({"typical_p": 0.45}, [0, 3 / 5, 2 / 5, 0]),
    ],
    ids=repr,
)
def test_each_setting_does_what_its_source_says(options, wanted):
    assert shares(**options) == pytest.approx(wanted)


def test_a_penalty_makes_seen_tokens_less_likely_once_however_often_they_were_seen():
    twice = shares((0, 0, 0), repetition_penalty=2.0)
    assert twice == shares((0,), repetition_penalty=2.0)
    assert twice == pytest.approx([share / 0.76 for share in (0.16, 0.3, 0.2, 0.1)])
    assert shares((0,), repetition_penalty=2.0, temperature=0.0) == [0, 1, 0, 0]


def test_positive_scores_are_divided():
    sampling = Sampling(repetition_penalty=2.0)
    assert process([3.0, 1.0], sampling, [0]) == [1.5, 1.0]


def test_tokens_that_the_model_does_not_know_are_not_penalised():
    assert shares((99,), repetition_penalty=2.0) == pytest.approx([0.4, 0.3, 0.2, 0.1])


def test_large_scores_do_not_overflow():
    assert softmax([1e6, 1e6 - 1.0]) == pytest.approx([1 / (1 + math.exp(-1)), 1 / (1 + math.e)])
