"""Policies that take what a group knows in the place of their own."""

import math

import pytest

from paceline.core.optional_protocols import Shareable
from paceline.core.plugins.catalogue import Catalogue
from paceline.core.records import DraftState, Plan, Round, RoundStart
from paceline.core.testing.doubles import FixedCosts

STEADY = {
    "auto": {"discount": 1.0, "idle_discount": 1.0},
    "survival": {"discount": 1.0, "idle_discount": 1.0},
    "thompson": {"discount": 1.0},
    "ucb": {},
}


def make(name):
    return Catalogue.load().policies[name].config(**STEADY[name]).build(0)


def done(gamma, accepted, index=0):
    return Round(
        index=index, position=index, context=9, plan=Plan(gamma, "small"), lag=0, drafted=gamma, accepted=accepted,
        emitted=accepted + 1, ended=None, draft_s=0.1, verify_s=0.2, total_s=0.3, tokens=(0,) * (accepted + 1),
    )  # fmt: skip


def learn(policy, rounds=40):
    """Let a policy see rounds of one token that is accepted; return how many it drafted."""
    drafted = 0
    for index in range(rounds):
        plan = policy.plan(RoundStart(index, index, 9 + index, 100, {"small": DraftState(0)}, FixedCosts()))
        drafted += plan.gamma > 0
        policy.observe(done(min(plan.gamma, 1), min(plan.gamma, 1), index))
    return drafted


def group(name):
    if name == "ucb":
        return {"2/rounds": 8.0, "2/gained": 16.0, "2/spent": 3.5}
    place = "small/0" if name == "thompson" else "small/all/0"
    return {f"{place}/accepted": 7.25, f"{place}/refused": 2.5}


@pytest.mark.parametrize("name", STEADY)
def test_what_a_group_knows_takes_the_place_of_what_was_learnt(name):
    policy = make(name)
    assert isinstance(policy, Shareable)
    if name != "ucb":
        learn(policy)
        assert policy.export()
    policy.replace(group(name))
    assert policy.export() == group(name)
    policy.replace({})
    assert policy.export() == {}


@pytest.mark.parametrize("name", STEADY)
def test_statistics_that_are_refused_change_nothing(name):
    policy = make(name)
    policy.replace(group(name))
    for wrong in ({"no statistic of anybody": 1.0}, {next(iter(group(name))): math.nan}):
        with pytest.raises(ValueError, match=r".+"):
            policy.replace(wrong)
        assert policy.export() == group(name)


@pytest.mark.parametrize("name", ["auto", "survival", "thompson"])
def test_what_is_learnt_afterwards_is_added(name):
    policy = make(name)
    before = group(name)
    policy.replace(before)
    accepted, refused = before
    drafted = learn(policy)
    assert policy.export()[accepted] == pytest.approx(before[accepted] + drafted)
    assert policy.export()[accepted] > before[accepted]
    assert policy.export()[refused] == pytest.approx(before[refused])


def test_only_statistics_that_hold_times_are_bound_to_hardware():
    assert {name: make(name).timed for name in STEADY} == {
        "auto": False,
        "survival": False,
        "thompson": False,
        "ucb": True,
    }
