import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import paceline
from paceline.core.errors import CapabilityError
from paceline.core.records import StopRule
from paceline.policies.baselines.gammatune import GammatuneConfig
from paceline.testing import play


def test_the_rule_step_by_step(start, done):
    """Worked by hand with eta 0.3, delta 2, mean and gamma 4 at first:

    4 of 4: 6. 6 of 6: 8. 5 of 8: mean 0.7 * 4 + 0.3 * 5 = 4.3, so 5. 5 of 5: 7. 0 of 7: mean 3.01, so 4.
    0 of 4: mean 2.107, so 3. 0 of 3: mean 1.4749, so 2. 0 of 2: mean 1.03243, so 2. 0 of 2: mean 1, the least, so 1.
    1 of 1: 3.
    """
    policy = GammatuneConfig().build()
    gammas = []
    for accepted in (4, 6, 5, 5, 0, 0, 0, 0, 0, 1):
        gamma = policy.plan(start()).gamma
        gammas.append(gamma)
        policy.observe(done(gamma, accepted))
    assert gammas == [4, 6, 8, 5, 7, 4, 3, 2, 2, 1]
    assert policy.plan(start()).gamma == 3
    assert policy.state_dict()["mean"] == pytest.approx(1.0)


@settings(deadline=None)
@given(accepted=st.integers(1, 15), weight=st.floats(0.01, 1.0))
def test_a_draft_that_always_gives_the_same_is_planned_exactly_that(accepted, weight):
    """The mean equals the count; no rounding error may add a token."""
    policy = GammatuneConfig(first_gamma=accepted, weight=weight).build()
    for _ in range(10):
        assert policy.moved(accepted, accepted + 1) == accepted


@settings(deadline=None)
@given(history=st.lists(st.integers(0, 15), max_size=20), one=st.integers(0, 15), other=st.integers(0, 15))
def test_the_more_was_accepted_the_larger_gamma_is_after_a_refusal(history, one, other):
    first, second = GammatuneConfig().build(), GammatuneConfig().build()
    for accepted in history:
        first.moved(accepted, 16)
        second.moved(accepted, 16)
    low, high = sorted((one, other))
    assert first.moved(low, 16) <= second.moved(high, 16)


def test_a_short_proposal_that_was_accepted_as_a_whole_does_not_lower_gamma(start, done):
    policy = GammatuneConfig(first_gamma=8).build()
    policy.observe(done(8, 1, drafted=1))
    assert policy.plan(start()).gamma == 10


def test_only_gammatune_plus_declares_a_stop_rule_and_demands_the_signal(start):
    plain, plus = GammatuneConfig().build(), GammatuneConfig(stop_below=0.4, draft="draft").build()
    assert plain.plan(start()).stop is None
    assert plus.plan(start()).stop == StopRule("top1", below=0.4)
    assert not plain.requires.signals
    assert (plus.requires.signals, plus.requires.draft) == ({"top1"}, "draft")
    assert not plus.needs, "the rule needs no copy per token"


def test_with_the_rule_drafting_ends_at_the_first_doubtful_token():
    bits = ([True] * 6 + [False]) * 20
    unsure = [r for r in play(GammatuneConfig(stop_below=0.5).build(), bits) if not r.ended]
    assert all(r.drafted == r.accepted + r.rejected for r in unsure)
    assert any(r.drafted > r.accepted + 1 for r in play(GammatuneConfig().build(), bits))


def test_a_draft_without_the_signal_is_refused_before_the_first_token():
    run = {
        "target": {"backend": "toy"},
        "drafts": {"lookup": {"backend": "prompt-lookup"}},
        "policy": {"name": "gammatune", "stop_below": 0.4},
    }
    with pytest.raises(CapabilityError, match=r"top1.*'lookup'"):
        paceline.load(run)


def test_a_saved_mean_out_of_bounds_is_refused_and_changes_nothing(done):
    policy = GammatuneConfig().build()
    policy.observe(done(4, 1))
    before = policy.state_dict()
    for mean in (0.0, 16.5, float("nan"), "4", None):
        with pytest.raises(ValueError, match="mean"):
            policy.load_state_dict(before | {"gamma": 7, "mean": mean})
        assert policy.state_dict() == before
