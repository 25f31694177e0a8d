"""The rule: whatever the two distributions, what comes out is distributed as the target's."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.core.proposals import SampledProposal
from paceline.core.sampling.rejection import acceptance, rejection_sample, residual
from paceline.core.sampling.rng import SeededRng
from paceline.core.testing.chance import outcomes

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
    assert acceptance(p, q, 0) == 1.0
    assert acceptance(p, q, 1) == pytest.approx(0.2)
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
    ("tokens", "chances"),
    [((2,), ([0.5, 0.5],)), ((1,), ([1.0, 0.0],)), ((0, 0), ([1.0],)), ((-1,), ([1.0],))],
)
def test_a_proposal_that_cannot_have_been_drawn_is_refused(tokens, chances):
    with pytest.raises(ValueError, match="drawn"):
        SampledProposal(tokens, chances)


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
