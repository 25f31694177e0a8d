"""Behaviour that aimd, fsm and gammatune have in common, tried on each of them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from paceline.core.records import Capabilities, DraftState, Plan, RoundStart
from paceline.core.testing.doubles import FixedCosts
from paceline.core.testing.playing import settle
from paceline.policies.baselines.aimd import AimdConfig
from paceline.policies.baselines.fsm import FsmConfig
from paceline.policies.baselines.gammatune import GammatuneConfig

STEERED = (AimdConfig, FsmConfig, GammatuneConfig)
VERDICTS = st.lists(st.tuples(st.integers(1, 16), st.integers(0, 16)), max_size=40)
BOUNDS = st.tuples(st.integers(1, 12), st.integers(1, 12)).map(sorted)

each = pytest.mark.parametrize("config", STEERED, ids=lambda config: config.model_fields["name"].default)


def begin(budget=100, gammas=None, *, zero_gamma=True):
    engine = Capabilities(gammas=gammas, zero_gamma=zero_gamma)
    return RoundStart(3, 10, 50, budget, {"draft": DraftState(0)}, FixedCosts(), engine)


def verdict(drafted, accepted, *, gamma=None, ended=None):
    plan = Plan(gamma or drafted, "draft")
    return settle(begin(), plan, drafted=drafted, accepted=min(accepted, drafted), ended=ended)


def taught(config, verdicts, **options):
    policy = config(**options).build()
    for wanted, accepted in verdicts:
        drafted = min(wanted, policy.plan(begin()).gamma)
        policy.observe(verdict(drafted, accepted if accepted < wanted else drafted))
    return policy


@each
@settings(deadline=None)
@given(verdicts=VERDICTS, bounds=BOUNDS, budget=st.integers(0, 20), first=st.integers(1, 20))
def test_gamma_stays_within_its_bounds_and_the_budget(config, verdicts, bounds, budget, first):
    low, high = bounds
    policy = taught(config, verdicts, min_gamma=low, max_gamma=high, first_gamma=first)
    assert low <= policy.plan(begin()).gamma <= high
    assert policy.plan(begin(budget)).gamma == min(policy.plan(begin()).gamma, budget)


@each
@settings(deadline=None)
@given(verdicts=VERDICTS, drafted=st.integers(1, 16), accepted=st.integers(0, 15))
def test_full_acceptance_never_lowers_gamma_and_leads_no_lower_than_a_refusal(
    config, verdicts, drafted, accepted
):
    before = taught(config, verdicts).plan(begin()).gamma
    agreed = taught(config, [*verdicts, (drafted, drafted)]).plan(begin()).gamma
    refused = taught(config, [*verdicts, (drafted, min(accepted, drafted - 1))]).plan(begin()).gamma
    assert agreed >= before
    assert agreed >= refused


@each
@settings(deadline=None)
@given(
    verdicts=VERDICTS,
    drafted=st.integers(1, 16),
    accepted=st.integers(0, 16),
    ended=st.sampled_from(["eos", "stop"]),
)
def test_a_round_that_was_ended_or_proposed_nothing_changes_nothing(
    config, verdicts, drafted, accepted, ended
):
    policy = taught(config, verdicts)
    before = policy.state_dict()
    policy.observe(verdict(drafted, accepted, ended=ended))
    policy.observe(verdict(0, 0, gamma=drafted))
    policy.observe(settle(begin(), Plan(0), drafted=0, accepted=0))
    assert policy.state_dict() == before


@each
@pytest.mark.parametrize("zero_gamma", [True, False])
def test_an_engine_with_a_fixed_set_is_never_left_at_gamma_0(config, zero_gamma):
    policy = config().build()
    for _ in range(30):
        assert policy.plan(begin(gammas=(4, 8), zero_gamma=zero_gamma)).gamma == 4
        policy.observe(verdict(4, 0))


@each
def test_gamma_does_not_run_on_where_a_fixed_set_cannot_follow(config):
    """After 30 full acceptances and after 30 refusals alike, a few rounds to the contrary reach the other end."""
    policy = config().build()
    start = begin(gammas=(2, 5))
    for accepted, reached in ((True, 5), (False, 2), (True, 5), (False, 2)):
        for _ in range(30):
            gamma = policy.plan(start).gamma
            policy.observe(verdict(gamma, gamma if accepted else 0))
        assert policy.plan(start).gamma == reached
        steps = 0
        while policy.plan(start).gamma == reached:
            policy.observe(verdict(reached, 0 if reached == 5 else reached))
            steps += 1
            assert steps <= 3


@each
def test_the_draft_is_the_one_named(config):
    start = RoundStart(0, 0, 9, 10, {"a": DraftState(0), "b": DraftState(0)}, FixedCosts())
    assert config(draft="b").build().plan(start).draft == "b"
    assert config().build().plan(start).draft == "a"


@each
def test_without_a_draft_or_a_budget_it_decodes_plainly(config):
    policy = config().build()
    assert policy.plan(RoundStart(0, 0, 9, 10, {}, FixedCosts())) == Plan(0)
    assert policy.plan(begin(0)) == Plan(0)


@each
def test_bounds_in_the_wrong_order_are_refused(config):
    with pytest.raises(ValidationError, match="min_gamma is 5 and max_gamma 4"):
        config(min_gamma=5, max_gamma=4)


@each
@pytest.mark.parametrize("gamma", [0, 17, -1, 2.5, True, None])
def test_a_saved_gamma_out_of_bounds_is_refused_and_changes_nothing(config, gamma):
    policy = taught(config, [(4, 4), (6, 2)])
    before = policy.state_dict()
    with pytest.raises(ValueError, match="gamma"):
        policy.load_state_dict(before | {"gamma": gamma})
    assert policy.state_dict() == before
