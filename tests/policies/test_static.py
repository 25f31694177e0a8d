from paceline.core.records import Capabilities
from paceline.policies.static import StaticConfig


def test_static_plans_gamma_or_what_the_budget_leaves(start):
    policy = StaticConfig(gamma=4).build()
    assert [policy.plan(start(budget)).gamma for budget in (0, 1, 4, 100)] == [0, 1, 4, 4]


def test_static_takes_the_next_smaller_gamma_of_a_fixed_set(start):
    policy = StaticConfig(gamma=4).build()
    engine = Capabilities(gammas=(1, 3, 5))
    assert policy.plan(start(100, capabilities=engine)).gamma == 3


def test_only_gamma_0_requires_an_engine_that_can_do_without_drafting():
    assert StaticConfig(gamma=0).build().requires.zero_gamma
    assert not StaticConfig(gamma=1).build().requires.zero_gamma


def test_static_names_its_draft(start):
    lags = {"a": 0, "b": 0}
    assert StaticConfig(draft="b").build().plan(start(lags=lags)).draft == "b"
    assert StaticConfig().build().plan(start(lags=lags)).draft == "a"
