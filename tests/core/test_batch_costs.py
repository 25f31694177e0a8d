"""Costs of shared passes are learnt by requests and tokens, and what a request is shown is its own part."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.core.batch_costs import BatchCosts, DraftTimes
from paceline.core.costs import LiveCosts


def learnt(rows, plain_s=0.1, token_s=0.002, rounds=80):
    costs = BatchCosts()
    for turn in range(rounds):
        drafted = (0, 0, rows, 3 * rows)[turn % 4]
        costs.observe_verification(rows, drafted, 50 * rows, plain_s + token_s * drafted)
    return costs


@pytest.mark.parametrize("rows", [2, 8, 16])
def test_a_request_pays_its_part_of_the_pass_and_all_that_its_tokens_add(rows):
    share = learnt(rows).share(rows, 50 * rows)
    assert share.verify_s(1, 50) == pytest.approx(0.1 / rows, rel=0.05)
    added = share.verify_s(1 + rows, 50) - share.verify_s(1, 50)
    assert added == pytest.approx(0.002 * rows, rel=0.25)


def test_another_number_of_requests_starts_from_the_nearest():
    costs = learnt(8)
    assert costs.share(7, 350).verify_s(1, 50) == pytest.approx(0.1 / 7, rel=0.1)
    levels, context_s = costs.share(9, 450).pass_s(16)
    assert levels[8] + context_s == pytest.approx(0.116, rel=0.15)


@given(step_s=st.floats(1e-4, 1e-1), token_s=st.floats(1e-5, 1e-2))
def test_steps_and_tokens_of_a_draft_are_told_apart(step_s, token_s):
    times = DraftTimes(1e-3)
    for turn in range(100):
        steps = 1 + turn % 4
        tokens = steps * (1 + turn % 7)
        times.observe(steps, tokens, steps * step_s + tokens * token_s)
    known = times.prices()
    for steps, tokens in ((1, 1), (3, 12), (4, 28)):
        expected = steps * step_s + tokens * token_s
        assert steps * known[0] + tokens * known[1] == pytest.approx(expected, rel=0.2)


def test_a_draft_that_is_asked_one_request_after_the_other_has_no_steps():
    costs = BatchCosts()
    for _ in range(5):
        costs.observe_drafting("lookup", 8, 0, 10, 0, 0.001)
    step_s, token_s = costs.share(8, 0).draft_pass_s("lookup")
    assert step_s == 0.0
    assert token_s == pytest.approx(1e-4, rel=1e-6)


def test_a_stall_moves_the_price_of_a_draft_by_a_little():
    times = DraftTimes(1e-3)
    for _ in range(20):
        times.observe(2, 8, 0.01)
    before = sum(times.prices())
    times.observe(2, 8, 10.0)
    assert sum(times.prices()) < 1.3 * before


def test_where_all_draft_from_the_beginning_plain_decoding_is_no_gift():
    costs = BatchCosts()
    for turn in range(40):
        drafted = 32 + 16 * (turn % 3)
        costs.observe_verification(8, drafted, 800, 0.01 * drafted)
    levels, context_s = costs.share(8, 800).pass_s(64)
    last = 32 + 16 * (39 % 3)
    assert levels[0] + context_s >= 0.01 * last * 8 / (8 + last) * 0.999
    assert list(levels) == sorted(levels)
    assert costs.share(7, 700).verify_s(1, 100) > 0.0


def prices(costs, rows):
    share = costs.batch.share(rows, 50 * rows)
    return [*share.pass_s(3 * rows)[0], *share.draft_pass_s("small"), costs.batch.least_s(rows)]


def test_what_was_learnt_of_shared_passes_is_kept_beside_the_costs_of_one_request():
    costs, again = LiveCosts(), LiveCosts()
    assert "batch" not in costs.state_dict()
    costs.batch = learnt(4)
    for turn in range(9):
        costs.batch.observe_drafting("small", 4, 1 + turn % 3, 4 + turn, 0, 0.01 + 0.001 * turn)
    state = json.loads(json.dumps(costs.state_dict()))
    again.load_state_dict(state)
    assert prices(again, 4) == pytest.approx(prices(costs, 4), rel=0.05)
    assert prices(again, 5) == pytest.approx(prices(costs, 5), rel=0.05)
    assert json.loads(json.dumps(again.state_dict()))["batch"].keys() == state["batch"].keys()


@given(
    damage=st.sampled_from(
        [
            7,
            {},
            {"rows": {}, "drafts": []},
            {"rows": {"0": {}}, "drafts": {}},
            {"rows": {"2": {"slope": 0.0, "lengths": {}, "least": -1.0}}, "drafts": {}},
            {"rows": {"2": {"slope": 0.0, "lengths": {}}}, "drafts": {}},
            {"rows": {}, "drafts": {"small": [1.0]}},
            {"rows": {}, "drafts": {"small": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, float("nan")]}},
        ]
    )
)
def test_damaged_costs_of_a_batch_are_refused_and_change_nothing(damage):
    costs = LiveCosts()
    costs.batch = learnt(4)
    before = costs.state_dict()
    with pytest.raises(ValueError, match="damaged"):
        costs.load_state_dict({**before, "batch": damage})
    assert costs.state_dict() == before
