"""Survival: every round teaches about every draft, and costs are weighed."""

from itertools import pairwise
from random import Random

import pytest

from paceline.core.records import Capabilities, Plan
from paceline.core.testing.playing import settle
from paceline.policies.survival import SurvivalConfig
from paceline.testing import FixedCosts, play


def bits(acceptance_prob, tokens=3000, seed=0):
    random = Random(f"{acceptance_prob}/{seed}")
    return [random.random() < acceptance_prob for _ in range(tokens)]


def seconds(rounds):
    return sum(done.total_s for done in rounds)


@pytest.mark.parametrize("sampling", ["mean", "thompson"])
def test_the_better_draft_is_found_and_the_better_one_again_after_they_have_changed_places(sampling):
    a, b = bits(0.8, 1500), bits(0.3, 1500)
    rounds = play(
        SurvivalConfig(sampling=sampling).build(), {"a": a + b, "b": b + a}, costs=FixedCosts(1.0, 10.0)
    )
    for draft, first, last in (("a", 300, 1500), ("b", 1800, 3000)):
        there = [done for done in rounds if first <= done.position < last]
        assert sum(done.plan.draft == draft for done in there) > 0.9 * len(there)


def test_a_draft_that_never_ran_is_known_from_its_scores():
    policy = SurvivalConfig().build()
    drafts = {"dear": bits(0.5), "free": bits(0.05)}
    play(policy, drafts, costs=FixedCosts({"dear": 0.5, "free": 0.0}, 10.0))
    known = policy.state.known["free"]
    assert next(known.acceptance_probs(None)) < 0.35
    assert sum(known.counts["all"].refused) > 3


def test_a_match_length_decides_between_drafts():
    right = bits(0.5)
    match_lengths = [16 if place // 60 % 2 else 1 for place in range(3000)]
    copied = [match_length > 1 for match_length in match_lengths]
    rounds = play(
        SurvivalConfig().build(),
        {"model": right, "lookup": copied},
        costs=FixedCosts({"model": 0.5, "lookup": 0.0}, 10.0),
        match_lengths={"lookup": match_lengths},
    )
    later = [done for done in rounds if done.position > 600]
    for wanted, draft in ((16, "lookup"), (1, "model")):
        there = [done for done in later if match_lengths[done.position] == wanted]
        assert sum(done.plan.draft == draft for done in there) > 0.8 * len(there)


def test_a_draft_with_nothing_to_propose_is_not_planned(start):
    policy = SurvivalConfig().build()
    assert policy.plan(start(lags={"lookup": 0}, match_lengths={"lookup": 0})).gamma == 0
    assert policy.plan(start(lags={"lookup": 0}, match_lengths={"lookup": 2})).draft == "lookup"


def test_plain_decoding_is_measured_now_and_then():
    rounds = play(SurvivalConfig(plain_every=50).build(), bits(0.95), costs=FixedCosts(0.1, 10.0))
    baselines = [done.index for done in rounds if done.plan.reason == "baseline"]
    assert baselines[0] == 50
    assert all(later - earlier >= 50 for earlier, later in pairwise(baselines))
    assert len(baselines) > 3


def test_an_engine_that_always_drafts_is_never_asked_for_plain_decoding():
    engine = Capabilities(zero_gamma=False)
    rounds = play(
        SurvivalConfig(plain_every=5).build(), bits(0.2), costs=FixedCosts(5.0, 10.0), engine=engine
    )
    assert all(done.plan.gamma > 0 for done in rounds[:-1])


def test_where_drafting_cannot_pay_nearly_everything_is_decoded_plainly_and_what_changed_is_noticed():
    rounds = play(SurvivalConfig().build(), [False] * 2000 + [True] * 1000, costs=FixedCosts(1.0, 10.0))
    assert seconds([done for done in rounds if done.position < 2000]) < 1.05 * 2000 * 10.0
    back = next(done.position for done in rounds if done.position >= 2000 and done.plan.gamma > 4)
    assert back < 2200


def test_a_round_without_evidence_counts_nothing(start):
    policy = SurvivalConfig(discount=1.0, idle_discount=1.0).build()
    policy.plan(start())
    policy.observe(settle(start(), Plan(4, "draft"), drafted=4, accepted=2))
    before = policy.export()
    for drafted, ended in ((0, None), (4, "eos")):
        policy.observe(settle(start(), Plan(4, "draft"), drafted=drafted, accepted=0, ended=ended))
    assert policy.export() == before


@pytest.mark.parametrize(
    "key", ["draft/all/0/lost", "all/0/accepted", "draft/nine/0/accepted", "draft/all/x/accepted"]
)
def test_statistics_that_no_export_writes_are_refused_as_a_whole(key):
    policy = SurvivalConfig().build()
    with pytest.raises(ValueError, match=r"statistic|bucket"):
        policy.absorb({"draft/all/0/accepted": 1.0, key: 1.0})
    assert policy.export() == {}
