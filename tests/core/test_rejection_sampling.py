"""Sampling: what is refused, what processing leaves, how sessions are opened, and the verdict on drawn tokens."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.backends.toy import ToyDraft, ToyTarget
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.errors import CapabilityError
from paceline.core.proposals import SampledProposal
from paceline.core.records import Capabilities
from paceline.core.rejection_sampling import (
    SeededRng,
    acceptance_prob,
    probs_of,
    process_logits,
    rejection_sample,
    residual,
    softmax,
)
from paceline.core.sampling import GREEDY, Sampling
from paceline.core.testing.doubles import ScriptedPolicy
from paceline.core.testing.enumeration import outcomes


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temperature": -1.0}, "temperature must be 0.0 .greedy., or 0.001 and more, found -1.0"),
        ({"temperature": 1e-9}, "temperature must be"),
        ({"temperature": float("nan")}, "temperature must be"),
        ({"temperature": float("inf")}, "temperature must be"),
        ({"top_k": 0}, "top_k must be at least 1, found 0"),
        ({"top_p": 0.0}, "top_p must be in"),
        ({"top_p": 95}, "top_p must be in"),
        ({"min_p": 1.1}, "min_p must be in"),
        ({"typical_p": 1.0}, "typical_p must be in"),
        ({"repetition_penalty": 0.0}, "repetition_penalty must be above 0"),
        ({"repetition_penalty": float("inf")}, "repetition_penalty must be above 0"),
        ({"temperature": 0.0, "top_p": 0.9}, "top_p must be left out at temperature 0.0, which is greedy"),
        ({"temperature": 0.0, "top_k": 5}, "top_k must be left out"),
    ],
)
def test_values_out_of_range_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Sampling(**values)


def test_only_greedy_decoding_with_nothing_applied_is_plain():
    assert GREEDY.plain
    assert Sampling(temperature=0.0, seed=3).plain
    assert not Sampling(temperature=0.0, repetition_penalty=1.1).plain
    assert not Sampling().plain


def test_the_seed_of_a_role_depends_on_seed_and_role_and_never_changes():
    assert Sampling(seed=3).of("target").seed == 6479489952691279375
    seeds = {
        Sampling(seed=seed).of(role).seed for seed in range(20) for role in ("target", "draft a", "draft b")
    }
    assert len(seeds) == 60
    assert all(0 <= seed < 2**63 for seed in seeds)


SCORES = [math.log(share) for share in (0.4, 0.3, 0.2, 0.1)]


def shares(context=(), **options):
    sampling = Sampling(**options)
    return probs_of(process_logits(SCORES, sampling, context), sampling)


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
    assert process_logits([3.0, 1.0], sampling, [0]) == [1.5, 1.0]


def test_tokens_that_the_model_does_not_know_are_not_penalised():
    assert shares((99,), repetition_penalty=2.0) == pytest.approx([0.4, 0.3, 0.2, 0.1])


def test_large_scores_do_not_overflow():
    assert softmax([1e6, 1e6 - 1.0]) == pytest.approx([1 / (1 + math.exp(-1)), 1 / (1 + math.e)])


class Greedy:
    """A target or draft of the time before sampling; writes down what it was asked."""

    def __init__(self, model):
        self._model = model
        self.opened = []

    def __getattr__(self, name):
        if name == "open_sampled":
            raise AttributeError(name)
        return getattr(self._model, name)

    def open(self, prompt):
        self.opened.append(tuple(prompt))
        return self._model.open(prompt)


def decoder(target, draft, **options):
    return SpeculativeDecoder(target, {"draft": draft}, ScriptedPolicy([2]), **options)


def test_a_draft_that_cannot_sample_is_opened_as_ever():
    target = ToyTarget()
    draft = Greedy(ToyDraft(target))
    done = decoder(target, draft).generate([1, 2], max_new_tokens=8, sampling=Sampling())
    assert draft.opened == [(1, 2)]
    assert done.totals.drafted > 0


@pytest.mark.parametrize("way", ["rounds", "generate", "stream"])
def test_a_target_that_cannot_sample_is_refused_before_anything_is_opened(way):
    target = Greedy(ToyTarget())
    made = decoder(target, ToyDraft(ToyTarget()))
    with pytest.raises(CapabilityError, match="cannot sample; leave sampling out"):
        getattr(made, way)([1, 2], sampling=Sampling())
    assert target.opened == []


def test_a_target_is_believed_when_it_says_that_it_cannot():
    target = ToyTarget(capabilities=Capabilities())
    with pytest.raises(CapabilityError, match="cannot sample"):
        decoder(target, ToyDraft(target), sampling=Sampling())


def test_a_target_that_cannot_sample_decodes_greedily():
    target = Greedy(ToyTarget())
    done = decoder(target, ToyDraft(ToyTarget())).generate(
        [1, 2], max_new_tokens=8, sampling=Sampling(temperature=0.0, seed=9)
    )
    assert target.opened == [(1, 2)]
    assert len(done.tokens) == 8


def test_a_call_may_sample_where_the_decoder_does_not_and_the_other_way_round():
    target = ToyTarget()
    greedy = decoder(target, ToyDraft(target))
    warm = decoder(target, ToyDraft(target), sampling=Sampling(seed=3))
    prompt, most = [1, 2], {"max_new_tokens": 30}
    assert (
        greedy.generate(prompt, sampling=Sampling(seed=3), **most).tokens
        == warm.generate(prompt, **most).tokens
    )
    cold = warm.generate(prompt, sampling=Sampling(temperature=0.0), **most).tokens
    assert cold == greedy.generate(prompt, **most).tokens
    assert cold != warm.generate(prompt, **most).tokens
    streamed = "".join(greedy.stream(prompt, sampling=Sampling(seed=3), **most))
    assert streamed == warm.generate(prompt, **most).text


EXACT = 1e-12


def normalised(weights):
    total = sum(weights)
    return [weight / total for weight in weights]


def distributions(size):
    weights = st.lists(st.sampled_from([0, 1, 2, 3, 7, 100]), min_size=size, max_size=size)
    return weights.filter(any).map(normalised)


@settings(deadline=None)
@given(distributions(4), st.integers(2, 4).flatmap(distributions))
def test_one_token_is_distributed_as_the_targets_whatever_it_was_drawn_from(target_probs, draft_probs):
    def one(rng):
        token = rng.draw(draft_probs)
        return rejection_sample([token], [draft_probs], [target_probs, target_probs], rng).tokens[0]

    found = outcomes(one)
    assert all(abs(found.get(token, 0.0) - share) < EXACT for token, share in enumerate(target_probs))


@settings(deadline=None)
@given(distributions(3), st.integers(0, 2))
def test_one_token_is_distributed_as_the_targets_whatever_was_proposed_without_a_word(target_probs, token):
    found = outcomes(lambda rng: rejection_sample([token], None, [target_probs, target_probs], rng).tokens[0])
    assert all(abs(found.get(token, 0.0) - share) < EXACT for token, share in enumerate(target_probs))


@settings(deadline=None, max_examples=30)
@given(st.lists(distributions(3), min_size=3, max_size=3), st.lists(distributions(3), min_size=2, max_size=2))
def test_a_chain_is_distributed_as_the_targets_and_ends_at_the_first_refusal(target_probs, draft_probs):
    def chain(rng):
        tokens = [rng.draw(shares) for shares in draft_probs]
        verdict = rejection_sample(tokens, draft_probs, target_probs, rng)
        assert list(verdict.tokens[: verdict.accepted]) == tokens[: verdict.accepted]
        assert len(verdict.tokens) == verdict.accepted + 1
        rest = [rng.draw(shares) for shares in target_probs[len(verdict.tokens) :]]
        return (*verdict.tokens, *rest)

    found = outcomes(chain)
    for text, probability in found.items():
        one, two, three = (shares[token] for shares, token in zip(target_probs, text, strict=True))
        assert probability == pytest.approx(one * two * three, abs=EXACT)


def test_the_rule_is_that_of_the_source():
    p, q = [0.9, 0.1], [0.5, 0.5]
    assert acceptance_prob(p, q, 0) == 1.0
    assert acceptance_prob(p, q, 1) == pytest.approx(0.2)
    assert residual(p, q, 1) == pytest.approx([0.4, 0.0])


def test_the_target_is_asked_no_further_than_tokens_are_accepted():
    asked = []

    def rows():
        for place in range(3):
            asked.append(place)
            yield [1.0, 0.0]

    assert rejection_sample([1, 0], None, rows(), SeededRng(0)).tokens == (0,)
    assert asked == [0]


def test_where_nothing_is_left_the_target_itself_is_drawn_from():
    assert residual([0.25, 0.75], [0.25, 0.75], 0) == [0.25, 0.75]


def test_a_certain_token_that_is_refused_never_comes_out():
    assert residual([0.25, 0.75], None, 1) == [0.25, 0.0]


@pytest.mark.parametrize(
    ("tokens", "draft_probs"),
    [((2,), ([0.5, 0.5],)), ((1,), ([1.0, 0.0],)), ((0, 0), ([1.0],)), ((-1,), ([1.0],))],
)
def test_a_proposal_that_cannot_have_been_drawn_is_refused(tokens, draft_probs):
    with pytest.raises(ValueError, match="drawn"):
        SampledProposal(tokens, draft_probs)


def test_seeded_dice_fall_as_often_as_they_should_and_repeat_themselves():
    rng, again = SeededRng(4), SeededRng(4)
    draws = [rng.draw([1, 0, 3]) for _ in range(4000)]
    assert draws == [again.draw([1, 0, 3]) for _ in range(4000)]
    assert set(draws) == {0, 2}
    assert draws.count(2) / 4000 == pytest.approx(0.75, abs=0.03)
    yes = [rng.accept(0.3) for _ in range(4000)]
    assert sum(yes) / 4000 == pytest.approx(0.3, abs=0.03)
    assert any(one != other for one, other in pairwise(yes))
    assert not any(rng.accept(0.0) for _ in range(100))
    assert all(rng.accept(1.0) for _ in range(100))


def test_a_backend_may_work_out_the_weights_of_a_redraw_itself():
    asked = []

    def weights_of(target_probs, draft_probs, token):
        asked.append((target_probs, draft_probs, token))
        return residual(target_probs, draft_probs, token)

    target_probs, draft_probs = [0.1, 0.6, 0.3], [1.0, 0.0, 0.0]
    verdicts = {
        rejection_sample([0], [draft_probs], [target_probs] * 2, SeededRng(seed), residual_of=given).tokens
        for seed in range(20)
        for given in (weights_of, None)
    }
    assert {tokens[0] for tokens in verdicts if len(tokens) == 1} == {1, 2}
    assert set(map(str, asked)) == {str((target_probs, draft_probs, 0))}
