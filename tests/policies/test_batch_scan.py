"""Draft tokens of a batch go where they bring most; none at all is a plan like any other."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline import load_config
from paceline.core.batch_costs import BatchCosts
from paceline.core.records import DraftState, RoundStart, finish_round, name_draft
from paceline.policies.batch_scan import Candidate, DraftPrices, best_gammas

probs = st.lists(st.floats(0.05, 0.95), min_size=1, max_size=4)


def survivals(chain):
    stands = 1.0
    return [stands := stands * prob for prob in chain]


def seconds_per_token(gammas, candidates, price, passes_s):
    requests = len(candidates)
    tokens = requests + sum(
        sum(each.survivals[:gamma]) for gamma, each in zip(gammas, candidates, strict=True)
    )
    drafted = sum(gammas)
    return (passes_s[drafted] + max(gammas) * price.step_s + drafted * price.token_s) / tokens


@given(
    chains=st.lists(probs, min_size=1, max_size=4),
    slope=st.floats(0.0, 2.0),
    token_s=st.floats(0.0, 0.5),
)
def test_where_each_token_costs_the_same_no_plan_is_better(chains, slope, token_s):
    candidates = [Candidate(number, "small", survivals(chain)) for number, chain in enumerate(chains)]
    passes_s = [1.0 + slope * tokens for tokens in range(1 + sum(map(len, chains)))]
    price = DraftPrices(0.0, token_s)
    gammas, found_s = best_gammas(
        len(chains), candidates, {"small": price}, passes_s, 0.0, len(chains) / passes_s[0]
    )
    every = product(*(range(len(chain) + 1) for chain in chains))
    best_s = min(seconds_per_token(each, candidates, price, passes_s) for each in every)
    plan = [gammas.get(number, 0) for number in range(len(chains))]
    assert found_s == pytest.approx(best_s)
    assert seconds_per_token(plan, candidates, price, passes_s) == pytest.approx(best_s)


@given(
    chains=st.lists(probs, min_size=1, max_size=4),
    levels=st.lists(st.floats(0.0, 1.0), min_size=17, max_size=17),
    step_s=st.floats(0.0, 0.5),
)
def test_whatever_passes_cost_the_plan_is_no_slower_than_plain_decoding(chains, levels, step_s):
    candidates = [Candidate(number, "small", survivals(chain)) for number, chain in enumerate(chains)]
    passes_s = [1.0 + sum(levels[:tokens]) for tokens in range(1 + sum(map(len, chains)))]
    price = DraftPrices(step_s, 0.01)
    gammas, found_s = best_gammas(
        len(chains), candidates, {"small": price}, passes_s, 0.0, len(chains) / passes_s[0]
    )
    plan = [gammas.get(number, 0) for number in range(len(chains))]
    assert seconds_per_token(plan, candidates, price, passes_s) == pytest.approx(found_s)
    assert found_s <= passes_s[0] / len(chains)


def costs(rows, token_s, *, draft_s=0.001):
    learnt = BatchCosts()
    for turn in range(60):
        drafted = (0, 4, 8, 16)[turn % 4]
        learnt.observe_verification(rows, drafted, 100 * rows, 0.1 + token_s * drafted)
        learnt.observe_drafting("small", rows, 0, 8, 0, 8 * draft_s)
    return learnt.share(rows, 100 * rows)


def play(policy, rows, share, lengths, right, rounds=60):
    """Play rounds in which a request's draft is right as often as `right` says; return the plans of the last one."""
    for index in range(rounds):
        starts = [
            RoundStart(index, 5, 100, 60, {"small": DraftState(0, length)}, share, batch=rows)
            for length in lengths
        ]
        plans = policy.plan_batch(starts)
        assert len(plans) == rows
        for number, (start, plan) in enumerate(zip(starts, plans, strict=True)):
            assert 0 <= plan.gamma <= start.budget
            accepted = plan.gamma if right[number] else 0
            tokens = tuple(range(accepted + 1))
            done = finish_round(
                start, name_draft(plan, start.drafts), plan.gamma, accepted, tokens, None, 0.001, 0.01, 0.012
            )
            policy.observe(done)
    return plans


@pytest.mark.parametrize("name", ["auto", "survival"])
def test_the_request_that_copies_drafts_and_the_others_do_not(name):
    policy = load_config({"policy": name}).policy.build(0)
    plans = play(policy, 8, costs(8, 0.004), [20, *[1] * 7], [True, *[False] * 7])
    assert plans[0].gamma >= 8
    assert sum(plan.gamma for plan in plans[1:]) <= 1


def test_where_further_tokens_are_dear_nobody_drafts():
    policy = load_config({"policy": "auto"}).policy.build(0)
    plans = play(policy, 8, costs(8, 0.1), [3] * 8, [True, False] * 4)
    assert sum(plan.gamma for plan in plans) <= 1  # one may look


def test_nobody_is_planned_past_its_budget():
    policy = load_config({"policy": "auto"}).policy.build(0)
    share = costs(3, 0.001)
    starts = [
        RoundStart(0, 5, 100, budget, {"small": DraftState(0, 30)}, share, batch=3) for budget in (0, 2, 60)
    ]
    plans = policy.plan_batch(starts)
    assert plans[0].gamma == 0
    assert plans[1].gamma <= 2
    assert plans[2].gamma == 16


def test_without_drafts_all_decode_plainly():
    policy = load_config({"policy": "auto"}).policy.build(0)
    starts = [RoundStart(0, 5, 100, 0, {}, costs(2, 0.01), batch=2) for _ in range(2)]
    assert [plan.gamma for plan in policy.plan_batch(starts)] == [0, 0]
