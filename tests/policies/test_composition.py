"""Drafts that are in the choice."""

import pytest

from paceline.core.records import Capabilities, DraftState, Requirements, RoundStart, StopRule
from paceline.policies.composition import (
    available_drafts,
    drafts_with_proposals,
    joint_requirements,
)
from paceline.policies.hedge import HedgeConfig
from paceline.policies.linear_select import LinearSelectConfig
from paceline.policies.metasd import MetaSDConfig
from paceline.policies.online import OnlineConfig
from paceline.policies.thompson import ThompsonConfig
from paceline.testing import FixedCosts, play


class Asking:
    def __init__(self, signal=None, draft=None):
        signals = frozenset({signal} if signal else ())
        self.requires = Requirements(signals=signals, draft=draft, latency="fused" if draft else "none")


def test_signals_are_required_of_the_draft_that_all_who_listen_name():
    joint = joint_requirements([Asking("prob", "small"), Asking("token", "small"), Asking()])
    assert (joint.signals, joint.draft) == ({"prob", "token"}, "small")


def test_signals_are_required_of_every_draft_when_one_who_listens_names_another_or_none():
    assert joint_requirements([Asking("prob", "small"), Asking("token", "big")]).draft is None
    assert joint_requirements([Asking("prob", "small"), Asking("token")]).draft is None


def test_drafts_change_as_often_as_one_of_them_asks_for():
    often = Asking()
    often.requires = Requirements(draft_switch="request")
    assert joint_requirements([Asking(), often]).draft_switch == "request"
    assert joint_requirements([often], draft_switch="round").draft_switch == "round"


def test_the_rest_is_whatever_one_of_them_requires():
    joint = joint_requirements([Asking(), Asking("prob", "small")], zero_gamma=True)
    assert joint == Requirements(zero_gamma=True, latency="fused", signals=frozenset({"prob"}), draft="small")


CONFIGS = (HedgeConfig, LinearSelectConfig, MetaSDConfig)
each_selector = pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.__name__)


def at(index=5, *, switch="round", match_lengths=None):
    engine = Capabilities(draft_switch=switch)
    drafts = {draft: DraftState(0, (match_lengths or {}).get(draft)) for draft in "abc"}
    return RoundStart(index, index, 9, 50, drafts, FixedCosts(), engine)


def test_an_engine_that_switches_every_round_leaves_the_choice_open():
    assert available_drafts(at(), "b") == ("a", "b", "c")


def test_an_engine_that_never_switches_runs_the_first_one():
    assert available_drafts(at(switch="none"), "b") == ("a",)


def test_an_engine_that_switches_between_requests_keeps_its_draft_in_between():
    assert available_drafts(at(0, switch="request"), "b") == ("a", "b", "c")
    assert available_drafts(at(3, switch="request"), "b") == ("b",)
    assert available_drafts(at(3, switch="request"), "gone") == ("a", "b", "c")


def test_who_has_nothing_to_propose_is_passed_over_unless_nobody_has():
    drafts = ("a", "b", "c")
    assert drafts_with_proposals(at(), drafts) == [*drafts]
    assert drafts_with_proposals(at(match_lengths={"b": 0}), drafts) == ["a", "c"]
    assert drafts_with_proposals(at(match_lengths={"b": 2}), drafts) == ["a", "b", "c"]
    assert drafts_with_proposals(at(match_lengths={"a": 0, "b": 0, "c": 0}), drafts) == drafts


@each_selector
def test_with_one_draft_a_selector_is_its_length_policy(config):
    bits = [i % 7 not in {3, 5} for i in range(400)]
    alone = play(OnlineConfig(draft=None).build(), {"only": bits})
    assert [r.plan for r in play(config().build(), {"only": bits})] == [r.plan for r in alone]


@each_selector
def test_without_a_draft_there_is_nothing_to_choose(config):
    policy = config().build()
    plan = policy.plan(RoundStart(0, 0, 9, 0, {}, FixedCosts()))
    assert (plan.gamma, plan.draft, plan.score) == (0, None, frozenset())


@each_selector
def test_what_the_length_policy_needs_and_plans_is_passed_on(config, start):
    class Stopping:
        needs = frozenset({"entropy"})
        requires = OnlineConfig().build().requires

        def plan(self, start):
            plan = OnlineConfig().build().plan(start)
            return type(plan)(plan.gamma, plan.draft, StopRule("entropy", above=2.0), "mine")

        def keep_drafting(self, signals):
            return signals == "go on"

        def observe(self, done):
            pass

    class ThresholdConfig(OnlineConfig):
        def build(self, seed=0):
            return Stopping()

    policy = config(length=ThresholdConfig()).build()
    assert policy.needs == {"entropy"}
    assert policy.requires.latency == "fused"
    plan = policy.plan(start())
    assert plan.stop == StopRule("entropy", above=2.0)
    assert plan.reason == "mine"
    assert (policy.keep_drafting("go on"), policy.keep_drafting("stop")) == (True, False)


@each_selector
@pytest.mark.parametrize("switch", ["none", "request"])
def test_the_draft_changes_only_where_the_engine_allows_it(config, switch):
    bits = {"a": [i % 5 == 0 for i in range(300)], "b": [True] * 300}
    rounds = play(config(length="static").build(), bits, engine=Capabilities(draft_switch=switch))
    assert len({r.plan.draft for r in rounds if r.plan.gamma}) == 1


@each_selector
def test_equal_seeds_plan_alike_also_with_a_length_policy_that_draws(config):
    bits = {"a": [i % 5 > 1 for i in range(300)], "b": [i % 3 > 0 for i in range(300)]}
    runs = [[r.plan for r in play(config(length=ThompsonConfig()).build(seed), bits)] for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


@each_selector
def test_a_damaged_length_policy_leaves_everything_as_it_was(config):
    policy, donor = config().build(), config().build()
    bits = {"a": [i % 5 > 1 for i in range(300)], "b": [i % 3 > 0 for i in range(300)]}
    play(policy, bits)
    play(donor, {name: [not bit for bit in known] for name, known in bits.items()})
    good, before = donor.state_dict(), policy.state_dict()
    damaged = {"policy": "online", "version": 1, "rounds": "damage", "quiet": 0}
    lengths = good["held"]["lengths"] | {"a": damaged}
    with pytest.raises(ValueError, match="damaged"):
        policy.load_state_dict(good | {"held": {"lengths": lengths}})
    assert policy.state_dict() == before
