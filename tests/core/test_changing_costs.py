"""The cost model on a machine that changes: stalls, jumps of one kind of work or of all, and what is at rest."""

import json
import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.core.costs import LiveCosts
from paceline.core.price import HOLD, LONGEST_HOLD, RECENT, Price
from paceline.core.records import Plan, Round

DRAFT_S, STEP_S = 0.1, 1.0


def a_round(gamma, *, draft=1.0, target=1.0, lag=0, noise=1.0, token=0.0):
    """A round of `gamma` tokens on a machine that is so much slower than at first, each token dearer by `token`."""
    draft_s = gamma * DRAFT_S * draft * (1.0 + 0.03 * lag / gamma if lag > 1 else 1.0) if gamma else 0.0
    verify_s = (STEP_S + (0.01 + token) * gamma) * target * noise
    plan = Plan(gamma, "d" if gamma else None)
    return Round(0, 0, 100, plan, lag, gamma, 0, 1, None, draft_s, verify_s, draft_s + verify_s, (1,))


def ratio(costs, gamma=4):
    """Costs of drafting `gamma` tokens against verifying them."""
    return costs.draft_s("d", gamma) / costs.verify_s(gamma + 1, 100)


@pytest.fixture
def costs():
    noise = Random(0)
    model = LiveCosts()
    for turn in range(60):
        model.observe(a_round(0 if turn % 10 == 9 else 4, noise=noise.uniform(0.97, 1.03)))
    return model


@settings(deadline=None)
@given(slow=st.floats(1.5, 100.0))
def test_a_stall_moves_nothing(slow):
    costs = LiveCosts()
    for _ in range(40):
        costs.observe(a_round(4))
    before = costs.verify_s(5, 100), costs.draft_s("d", 4)
    costs.observe(a_round(4, draft=slow, target=slow))
    assert (costs.verify_s(5, 100), costs.draft_s("d", 4)) == pytest.approx(before)


@pytest.mark.parametrize("slow", [2.0, 5.0, 30.0])
def test_a_jump_is_followed_at_the_second_timing_and_moves_what_was_not_timed(costs, slow):
    for _ in range(2):
        costs.observe(a_round(4, draft=slow, target=slow))
    assert costs.verify_s(5, 100) == pytest.approx(slow * 1.04, rel=0.05)
    assert costs.verify_s(1, 100) == pytest.approx(slow, rel=0.1)
    assert costs.draft_s("d", 4) == pytest.approx(slow * 0.4, rel=0.05)


def test_a_draft_at_rest_moves_with_the_machine(costs):
    before = ratio(costs)
    for _ in range(12):
        costs.observe(a_round(0, target=5.0))
    for _ in range(2):
        costs.observe(a_round(4, draft=5.0, target=5.0))
    assert ratio(costs) == pytest.approx(before, rel=0.1)


def test_a_round_that_lags_tells_that_a_slow_draft_is_fast_again(costs):
    for _ in range(3):
        costs.observe(a_round(4, draft=30.0))
    assert costs.draft_s("d", 1) == pytest.approx(3.0, rel=0.1)
    for _ in range(20):
        costs.observe(a_round(0))
    costs.observe(a_round(1, lag=21))
    assert costs.draft_s("d", 1) < 0.2


def test_dearer_blocks_are_told_from_a_slower_machine_by_a_look_at_plain_decoding(costs):
    """Two lengths that became twice as dear look like a machine that did."""
    for gamma in (4, 2, 4):
        costs.observe(a_round(gamma, target=2.0))
    assert costs.verify_s(1, 100) == pytest.approx(2.0, rel=0.05)
    assert costs.age(1) == math.inf
    costs.observe(a_round(0))
    assert costs.verify_s(1, 100) == pytest.approx(1.0, rel=0.05)
    assert costs.verify_s(5, 100) == pytest.approx(2.08, rel=0.05)
    assert costs.age(1) == 0


def test_blocks_of_about_the_same_length_do_not_make_the_machine_slower_where_the_draft_is_as_fast_as_ever(
    costs,
):
    for gamma in (4, 3, 4):
        costs.observe(a_round(gamma, target=2.0))
    assert costs.verify_s(1, 100) == pytest.approx(1.0, rel=0.1)
    assert costs.verify_s(4, 100) == pytest.approx(2.06, rel=0.1)


def test_lengths_that_became_dearer_together_become_cheaper_with_the_first_that_does(costs):
    """Tokens cost 30 % of a plain step for a while; only one length is used when that ends."""
    for token in (0.0, 0.3):
        for gamma in (4, 4, 3, 3, 2, 2, 5, 5):
            costs.observe(a_round(gamma, token=token))
    assert costs.verify_s(6, 100) == pytest.approx(2.55, rel=0.05)
    for _ in range(40):
        costs.observe(a_round(2, token=0.3))
    for _ in range(2):
        costs.observe(a_round(2))
    for length in range(1, 7):
        assert costs.verify_s(length, 100) == pytest.approx(1.0 + 0.01 * (length - 1), rel=0.1)


def test_what_one_length_costs_bounds_those_not_timed_since_it_jumped(costs):
    """A longer block takes no less, and no more than in proportion to its tokens."""
    for gamma in (8, 6, 4) * 4:
        costs.observe(a_round(gamma))
    for _ in range(2):
        costs.observe(a_round(6, token=0.3))
    assert costs.verify_s(9, 100) >= costs.verify_s(7, 100) == pytest.approx(2.86, rel=0.1)
    assert costs.verify_s(5, 100) >= 5 / 7 * costs.verify_s(7, 100) * 0.95


def test_a_high_price_at_rest_goes_back_to_the_lowest_and_is_held_for_longer_each_time_it_is_met_again():
    price, now = Price(), 0
    for _ in range(10):
        now += 1
        price.follow(0.0, now)
    price.jump(3.0, now)
    halves = []
    for _ in range(6):
        rest = next(rest for rest in range(4000) if price.at(now + rest, 3.0) < 1.5)
        halves.append(rest)
        now += rest + LONGEST_HOLD
        price.renew(3.0 - price.log, now)
    assert halves[0] == pytest.approx(HOLD + RECENT, abs=1)
    assert halves == sorted(halves)
    assert halves[-1] <= LONGEST_HOLD + RECENT + 1


@settings(deadline=None)
@given(
    rounds=st.lists(
        st.tuples(st.integers(0, 9), st.floats(0.1, 40.0), st.floats(0.1, 40.0), st.integers(0, 90)),
        max_size=60,
    )
)
def test_kept_costs_price_work_as_those_they_were_kept_of(rounds):
    costs = LiveCosts()
    for gamma, draft, target, lag in rounds:
        costs.observe(a_round(gamma, draft=draft, target=target, lag=lag if gamma else 0))
    again = LiveCosts()
    again.load_state_dict(json.loads(json.dumps(costs.state_dict())))
    assert again.state_dict()["drafts"].keys() == costs.state_dict()["drafts"].keys()
    for length in range(1, 20):
        assert 0.0 <= again.verify_s(length, 100) < math.inf
    assert 0.0 <= again.draft_s("d", 3, 50) < math.inf


def test_kept_costs_are_right_from_the_first_round(costs):
    again = LiveCosts()
    again.load_state_dict(costs.state_dict())
    assert ratio(again) == pytest.approx(ratio(costs), rel=0.02)
    for _ in range(2):
        again.observe(a_round(4, draft=3.0, target=3.0))
    assert again.verify_s(1, 100) == pytest.approx(3.0, rel=0.1)


@pytest.mark.parametrize(
    "damage",
    [
        {},
        {"version": 2, "verify": {"slope": 0.0, "lengths": {}}, "drafts": {}},
        {"version": 1, "verify": None, "drafts": {}},
        {"version": 1, "verify": {"slope": 1e308, "lengths": {}}, "drafts": {}},
        {"version": 1, "verify": {"slope": 0.0, "lengths": {"0": [0.0, 1.0, 3]}}, "drafts": {}},
        {"version": 1, "verify": {"slope": 0.0, "lengths": {"1": [1e9, 1.0, 3]}}, "drafts": {}},
        {"version": True, "verify": {"slope": 0.0, "lengths": {}}, "drafts": {}},
        {"version": 1, "verify": {"slope": 0.0, "lengths": {"9" * 5000: [0.0, 1.0, 3]}}, "drafts": {}},
        {"version": 1, "verify": {"slope": 0.0, "lengths": {"\u0663": [0.0, 1.0, 3]}}, "drafts": {}},
        {"version": 1, "verify": {"slope": 0.0, "lengths": {}}, "drafts": {"d": [0.0, math.nan, 3]}},
        {"version": 1, "verify": {"slope": 0.0, "lengths": {}}, "drafts": {"d": [0.0, 0.1]}},
        {"version": 1, "verify": {"slope": 0.0, "lengths": {}}, "drafts": {"d": [True, 0.1, 3]}},
    ],
)
def test_damaged_costs_are_refused_and_change_nothing(costs, damage):
    before = costs.state_dict()
    with pytest.raises(ValueError, match="saved costs"):
        costs.load_state_dict(damage)
    assert costs.state_dict() == before


def test_a_stall_in_the_first_rounds_is_not_believed_for_ever():
    """The draft was timed twice, once in a stall, and not again since."""
    costs = LiveCosts()
    for slow in (1.0, 10.0):
        costs.observe(a_round(4, draft=slow, target=slow))
    for _ in range(200):
        costs.observe(a_round(0))
    assert costs.draft_s("d", 4) < 0.6
    assert costs.verify_s(5, 100) < 1.4


@pytest.mark.parametrize("price", [3.0, 30.0])
def test_a_kept_price_that_is_too_high_is_tried_again_though_nothing_is_drafted(costs, price):
    """It was kept while the draft's device was busy; the target is as it was."""
    state = costs.state_dict()
    state["drafts"]["d"] = [math.log(price), 0.03, 40]
    again = LiveCosts()
    again.load_state_dict(state)
    assert again.draft_s("d", 1) == pytest.approx(price)
    for _ in range(300):
        again.observe(a_round(0))
    assert again.draft_s("d", 1) < 0.2


@settings(deadline=None)
@given(logs=st.lists(st.floats(-50.0, 50.0), min_size=4, max_size=4))
def test_whatever_was_read_can_be_read_again_after_it_was_kept(logs):
    costs = LiveCosts()
    lengths = {str(n): [log, 1e12, 1e12] for n, log in zip((1, 4, 5), logs, strict=False)}
    costs.load_state_dict(
        {"version": 1, "verify": {"slope": 0.0, "lengths": lengths}, "drafts": {"d": [logs[3], 1.0, 1e12]}}
    )
    for gamma in (4, 0, 3, 4) * 10:
        costs.observe(a_round(gamma))
    LiveCosts().load_state_dict(json.loads(json.dumps(costs.state_dict())))
