"""Both policies keep the contract, whatever the arms and the reward; and refuse options that do not fit together."""

import pytest
from pydantic import ValidationError

from paceline import Capabilities, ConfigError, Plan
from paceline.testing import check_policy
from paceline_banditspec import Exp3SpecConfig, UcbSpecConfig

BOTH = pytest.mark.parametrize("config", [UcbSpecConfig, Exp3SpecConfig])


@BOTH
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"length": 7, "reward": "rate"},
        {"arms": "gammas"},
        {"arms": "gammas", "gammas": (0, 1, 4, 8), "reward": "tokens"},
    ],
    ids=str,
)
def test_the_contract_is_kept(config, options):
    check_policy(config(**options), examples=15)
    check_policy(config(**options), drafts=("small", "lookup"), examples=15)


@BOTH
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gammas": (1, 2)}, "`gammas` has no meaning with `arms: drafts`"),
        ({"draft": "small"}, "`draft` has no meaning with `arms: drafts`"),
        ({"arms": "gammas", "length": 3}, "`length` has no meaning with `arms: gammas`"),
        ({"arms": "gammas", "gammas": (2, 2)}, "different"),
        ({"arms": "gammas", "gammas": (2,)}, "at least 2 items"),
        ({"arms": "gammas", "gammas": (-1, 2)}, "greater than or equal to 0"),
        ({"length": 0}, "greater than or equal to 1"),
        ({"reward": "speed"}, "'tokens' or 'rate'"),
    ],
    ids=str,
)
def test_options_that_do_not_fit_are_refused(config, options, message):
    with pytest.raises(ValidationError, match=message):
        config(**options)


@BOTH
def test_the_reward_is_tokens_for_drafts_and_the_rate_for_gammas_unless_it_is_chosen(config):
    assert config().maximised() == "tokens"
    assert config(arms="gammas").maximised() == "rate"
    assert config(arms="gammas", reward="tokens").maximised() == "tokens"
    assert config().build().requires.latency == "none"
    assert config(arms="gammas").build().requires.latency == "fused"


@BOTH
def test_the_last_rounds_of_a_text_are_as_short_as_it_needs_and_count_for_nothing(config, start, done):
    policy = config(length=4).build()
    before = policy.state_dict()
    plan = policy.plan(start(budget=2))
    policy.observe(done(plan, 0))
    assert plan.gamma == 2
    assert {**policy.state_dict(), "draws": 0} == {**before, "draws": 0}
    assert policy.plan(start(budget=0)).gamma == 0


@BOTH
def test_an_engine_with_a_fixed_set_runs_its_nearest_length_and_such_rounds_count(config, start, done):
    policy = config(length=6).build()
    plan = policy.plan(start(capabilities=Capabilities(gammas=(1, 3, 8))))
    before = policy.state_dict()
    policy.observe(done(plan, 1))
    assert plan.gamma == 3
    assert policy.state_dict() != before


@BOTH
def test_an_engine_that_runs_none_of_the_lengths_is_a_clear_error(config, start):
    policy = config(arms="gammas", gammas=(2, 3)).build()
    with pytest.raises(ConfigError, match=r"none of the gammas 2, 3 .* it runs 4, 8"):
        policy.plan(start(capabilities=Capabilities(gammas=(4, 8))))


@BOTH
def test_a_budget_below_every_length_still_drafts_what_there_is_room_for(config, start):
    policy = config(arms="gammas", gammas=(4, 8)).build()
    assert policy.plan(start(budget=3)) == Plan(3, "good")


@BOTH
def test_gammas_are_those_of_the_draft_that_is_named(config, start):
    assert config(arms="gammas", draft="bad").build().plan(start()).draft == "bad"
    with pytest.raises(ConfigError, match="'worse', but the drafts are: good, bad"):
        config(arms="gammas", draft="worse").build().plan(start())


@BOTH
def test_a_state_of_other_arms_or_another_length_is_refused(config):
    state = config().build().state_dict()
    for other in (config(length=5), config(arms="gammas")):
        with pytest.raises(ValueError, match=r"is of other options: its (arms|length) is"):
            other.build().load_state_dict(state)
