"""Sampling over arrays does what paceline's own does token by token."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline import SIGNALS, SampledProposal, Sampling, TokenProposal, rejection_sample
from paceline.testing import outcomes, probs_of, process_logits
from paceline_llamacpp.sampling import ArrayRng, Sampler, draft_probs_of, residual, token_signals

SHARES = st.one_of(st.none(), st.floats(0.05, 0.95))
SETTINGS = st.builds(
    Sampling,
    temperature=st.floats(0.1, 3.0),
    top_k=st.one_of(st.none(), st.integers(1, 12)),
    top_p=SHARES,
    min_p=SHARES,
    typical_p=SHARES,
    repetition_penalty=st.floats(0.5, 2.0),
)
# Far enough apart that no cut falls between two scores by rounding.
LOGITS = st.lists(st.integers(-400, 400), min_size=2, max_size=9, unique=True).map(
    lambda whole: [number / 37 for number in whole]
)
CONTEXT = st.lists(st.integers(0, 11), min_size=1, max_size=5)


@settings(deadline=None)
@given(sampling=SETTINGS, logits=LOGITS, prompt=CONTEXT, delivered=CONTEXT, guess=CONTEXT)
def test_scores_and_probabilities_are_those_of_paceline(sampling, logits, prompt, delivered, guess):
    sampler = Sampler(sampling, prompt)
    sampler.advance(delivered)
    scores = sampler.process(np.array(logits, np.float64), guess)
    expected = process_logits(logits, sampling, [*prompt, *delivered, *guess])
    assert scores.tolist() == pytest.approx(expected)
    assert sampler.probs(scores).tolist() == pytest.approx(probs_of(expected, sampling))


def test_greedy_decoding_under_a_penalty_is_certain_of_the_likeliest():
    sampler = Sampler(Sampling(temperature=0.0, repetition_penalty=2.0), [1])
    scores = sampler.process(np.array([1.0, 1.5, -1.0], np.float32), [])
    assert sampler.probs(scores).tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("draft_probs", [None, [0.5, 0.5, 0.0], [0.25, 0.75]])
def test_what_is_drawn_is_distributed_as_the_target_whatever_was_proposed(draft_probs):
    target_probs = np.array([0.2, 0.3, 0.5])
    drawn_from = None if draft_probs is None else [np.array(draft_probs)]

    def first(rng):
        token = 1 if draft_probs is None else rng.draw(draft_probs)
        return rejection_sample(
            [token], drawn_from, [target_probs, target_probs], rng, residual_of=residual
        ).tokens[0]

    assert outcomes(first) == pytest.approx(dict(enumerate(target_probs)))


def test_where_rounding_leaves_nothing_the_target_itself_is_drawn_from():
    probs = np.array([0.5, 0.5])
    assert residual(probs, probs, 0).tolist() == [0.5, 0.5]


def test_draws_follow_the_weights_and_the_seed():
    weights = np.array([0.0, 3.0, 0.0, 1.0, 0.0])
    rng, again = ArrayRng(7), ArrayRng(7)
    drawn = [rng.draw(weights) for _ in range(4000)]
    assert drawn == [again.draw(weights) for _ in range(4000)]
    assert Counter(drawn).keys() == {1, 3}
    assert Counter(drawn)[1] / 4000 == pytest.approx(0.75, abs=0.03)


def test_signals_are_those_of_the_distribution():
    probs = np.array([0.5, 0.25, 0.125, 0.125])
    said = token_signals(np.log(probs) + 3.0, 1, 2, SIGNALS)
    assert (said.position, said.token) == (2, 1)
    assert (said.top1, said.prob, said.margin) == pytest.approx((0.5, 0.25, 0.25))
    assert said.entropy == pytest.approx(1.75 * math.log(2))


def test_signals_nobody_asked_for_are_left_out():
    said = token_signals(np.array([1.0, 0.0]), 0, 0, frozenset({"margin"}))
    assert (said.top1, said.prob, said.entropy, said.token) == (None, None, None, None)
    assert token_signals(np.array([1.0, 0.0]), 0, 0, frozenset({"token"})).token == 0


def test_distributions_are_read_from_a_proposal_that_has_them():
    drawn = draft_probs_of(SampledProposal((1,), ([0.5, 0.5],)))
    assert drawn is not None
    assert [row.tolist() for row in drawn] == [[0.5, 0.5]]
    assert draft_probs_of(TokenProposal((1,))) is None
    assert draft_probs_of(None) is None
