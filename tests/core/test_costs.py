"""Cost models."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.core.costs import CostTable, LiveCosts
from paceline.core.records import Plan, Round, TreeOutcome


def a_round(drafted=0, *, verify_s=1.0, draft_s=0.0, lag=0, context=100, draft="d"):
    plan = Plan(drafted, draft if drafted else None)
    return Round(0, 0, context, plan, lag, drafted, 0, 1, None, draft_s, verify_s, draft_s + verify_s, (1,))


def taught(rounds):
    costs = LiveCosts()
    for done in rounds:
        costs.observe(done)
    return costs


finite_rounds = st.lists(
    st.builds(
        a_round,
        st.integers(0, 12),
        verify_s=st.floats(0, 100),
        draft_s=st.floats(0, 100),
        lag=st.integers(0, 50),
        context=st.integers(1, 5000),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(rounds=finite_rounds, context=st.integers(1, 5000))
def test_verification_never_gets_cheaper_with_length_whatever_was_measured(rounds, context):
    costs = taught(rounds)
    times = [costs.verify_s(length, context) for length in range(1, 40)]

    assert times == sorted(times)
    assert all(0 <= t < float("inf") for t in times)


@settings(deadline=None)
@given(rounds=finite_rounds, gamma=st.integers(0, 20), lag=st.integers(0, 500))
def test_drafting_costs_are_finite_and_grow_with_lag(rounds, gamma, lag):
    costs = taught(rounds)

    assert 0 <= costs.draft_s("d", gamma) <= costs.draft_s("d", gamma, lag) < float("inf")


def test_before_anything_is_known_a_draft_token_is_a_tenth_of_a_plain_step():
    costs = LiveCosts()

    assert costs.draft_s("d", 1) == pytest.approx(0.1 * costs.verify_s(1, 500))


def test_what_was_measured_overrides_the_fit():
    rounds = [
        a_round(n - 1, verify_s=t) for _ in range(9) for n, t in ((1, 10.0), (2, 15.0), (5, 15.5), (9, 24.0))
    ]
    costs = taught(rounds)

    for length, seconds in ((1, 10.0), (2, 15.0), (5, 15.5), (9, 24.0)):
        assert costs.verify_s(length, 100) == pytest.approx(seconds, rel=0.08)


def test_the_step_from_one_row_to_two_is_not_taken_for_the_slope():
    """A matrix-vector product is another code path: 10 ms for one row and 15 for two do not make 50 for nine."""
    costs = taught([a_round(n - 1, verify_s=t) for _ in range(9) for n, t in ((1, 10.0), (2, 15.0))])

    assert costs.verify_s(9, 100) < 22


def test_lengths_not_seen_lie_between_their_neighbours():
    costs = taught([a_round(n - 1, verify_s=10.0 + n) for _ in range(9) for n in (2, 4, 12)])

    assert costs.verify_s(8, 100) == pytest.approx(18.0, rel=0.05)


def test_a_slow_first_forward_and_outliers_do_not_spoil_the_model():
    noise = random.Random(0)
    rounds = [a_round(4, verify_s=500.0, draft_s=200.0)]
    for _ in range(60):
        slow = 20.0 if noise.random() < 0.15 else 1.0
        rounds.append(a_round(4, verify_s=10.0 * slow * noise.uniform(0.95, 1.05), draft_s=2.0 * slow))
    costs = taught(rounds)

    assert costs.verify_s(5, 100) == pytest.approx(10.0, rel=0.1)
    assert costs.draft_s("d", 4) == pytest.approx(2.0, rel=0.1)


def test_time_that_grows_with_context_is_told_apart_from_time_that_grows_with_length():
    noise = random.Random(1)
    rounds = []
    for context in range(100, 4000, 20):
        drafted = noise.choice((0, 2, 4, 8))
        rounds.append(a_round(drafted, verify_s=10.0 + 0.1 * drafted + 0.002 * context, context=context))
    costs = taught(rounds)

    assert costs.verify_s(5, 4000) - costs.verify_s(5, 2000) == pytest.approx(4.0, rel=0.3)
    assert costs.verify_s(5, 4000) == pytest.approx(18.4, rel=0.1)


def test_the_model_follows_a_machine_that_becomes_slower():
    rounds = [a_round(4, verify_s=10.0) for _ in range(50)] + [a_round(4, verify_s=20.0) for _ in range(20)]

    assert taught(rounds).verify_s(5, 100) == pytest.approx(20.0, rel=0.1)


def test_a_length_measured_once_in_a_bad_moment_is_forgotten_in_time():
    rounds = [a_round(6, verify_s=80.0)] + [a_round(4, verify_s=10.0) for _ in range(1500)]

    assert taught(rounds).verify_s(7, 100) < 15


def test_catching_up_is_learnt_apart_from_drafting():
    rounds = [a_round(4, draft_s=4.0) for _ in range(9)] + [
        a_round(4, draft_s=4.0 + 0.1 * 40, lag=40) for _ in range(9)
    ]
    costs = taught(rounds)

    assert costs.draft_s("d", 4) == pytest.approx(4.0, rel=0.001)
    assert costs.draft_s("d", 4, 100) == pytest.approx(4.0 + 10.0, rel=0.05)


def test_a_round_that_proposed_nothing_says_nothing_about_the_draft():
    assert taught([a_round(0, verify_s=10.0)]).draft_s("d", 2) == pytest.approx(2.0)


def test_a_block_takes_no_less_than_nothing_where_times_fall_faster_than_contexts():
    rounds = [a_round(verify_s=0.0, context=1) for _ in range(30)]
    costs = taught([*rounds, a_round(1, verify_s=1.0, context=9), a_round(1, verify_s=0.0, context=1)])

    assert costs.verify_s(1, 0) >= 0.0


@settings(deadline=None, max_examples=50)
@given(rounds=finite_rounds, longest=st.integers(1, 30), context=st.integers(1, 5000))
def test_the_table_of_a_round_is_the_sum_of_drafting_and_verifying(rounds, longest, context):
    costs = taught(rounds)
    for draft in ("d", "never seen"):
        for done in (None, a_round(3, verify_s=9.0, draft_s=2.0), a_round(longest, verify_s=5.0)):
            if done is not None:
                costs.observe(done)
            table, context_s = costs.round_s(draft, longest, context)
            one_by_one = [
                costs.draft_s(draft, gamma) + costs.verify_s(gamma + 1, context)
                for gamma in range(longest + 1)
            ]
            assert [round_s + context_s for round_s in table[: longest + 1]] == pytest.approx(one_by_one)


def test_the_table_follows_a_draft_whose_tokens_get_dearer_while_the_curve_rests():
    costs = taught([a_round(4, verify_s=10.0, draft_s=4.0) for _ in range(40)])
    before, prior_s = costs.round_s("new", 4, 100)[0][4], costs.draft_s("new", 4)
    costs.observe(a_round(4, verify_s=10.0, draft_s=40.0, draft="new"))

    assert costs.round_s("new", 4, 100)[0][4] == pytest.approx(before - prior_s + 40.0)


def test_asking_for_prices_does_not_change_them():
    """Knowledge is settled while learning, so that every decision takes as long as the next."""
    asked, silent = LiveCosts(), LiveCosts()
    for i in range(62):
        done = a_round(i % 7, verify_s=10.0 + i % 7 + i % 3, draft_s=1.0 * (i % 7))
        asked.observe(done)
        asked.verify_s(5, 100)
        silent.observe(done)

    assert [asked.verify_s(n, 100) for n in range(1, 20)] == [silent.verify_s(n, 100) for n in range(1, 20)]


class TestCostTable:
    def test_it_interpolates_between_lengths_and_goes_on_with_the_last_slope(self):
        table = CostTable({1: 10.0, 2: 15.0, 4: 16.0}, context=0.5)

        assert [table.verify_s(n, 0) for n in (1, 2, 3, 4, 6)] == [10.0, 15.0, 15.5, 16.0, 17.0]
        assert table.verify_s(2, 10) == 20.0

    def test_one_length_alone_is_flat(self):
        assert CostTable({1: 10.0}).verify_s(9, 0) == 10.0

    def test_it_refuses_to_be_empty(self):
        with pytest.raises(ValueError, match="at least one block length"):
            CostTable({})


def test_a_longer_block_that_is_cheaper_than_a_shorter_one_is_not_made_to_look_as_dear():
    rounds = [
        a_round(n - 1, verify_s=t) for _ in range(9) for n, t in ((1, 11.7), (2, 15.0), (3, 17.5), (4, 14.4))
    ]
    costs = taught(rounds)

    assert costs.verify_s(2, 100) == pytest.approx(15.0, rel=0.02)
    assert costs.verify_s(3, 100) == pytest.approx(costs.verify_s(4, 100))
    assert costs.verify_s(4, 100) == pytest.approx((17.5 + 14.4) / 2, rel=0.02)


def a_tree(depth, nodes, *, draft_s=0.1, verify_s=2.0):
    done = a_round(depth, draft_s=draft_s, verify_s=verify_s)
    return replace(done, tree=TreeOutcome(nodes, (), (2,)))


@settings(deadline=None)
@given(
    finite_rounds,
    st.lists(
        st.builds(a_tree, st.integers(1, 4), st.integers(4, 40), verify_s=st.floats(0.1, 50)), max_size=20
    ),
)
def test_trees_never_move_the_prices_of_chains(rounds, trees):
    alone, among = taught(rounds), taught(rounds)
    for done in trees:
        among.observe(done)
    for length in (1, 2, 5, 9, 30):
        assert among.verify_s(length, 100) == alone.verify_s(length, 100)
    assert among.state_dict() == alone.state_dict()


def test_what_trees_take_is_learnt_from_where_chains_stand():
    costs = taught([a_round(4, draft_s=0.4, verify_s=1.0)] * 20)
    assert costs.verify_tree_s(9, 100) == costs.verify_s(10, 100)
    assert costs.draft_tree_s("d", 3) == costs.draft_s("d", 3)
    for _ in range(20):
        costs.observe(a_tree(3, 9, draft_s=0.6, verify_s=2.0))
    assert costs.verify_tree_s(9, 100) == pytest.approx(2.0, rel=0.05)
    assert costs.draft_tree_s("d", 3) == pytest.approx(0.6, rel=0.05)
    assert costs.verify_s(5, 100) == pytest.approx(1.0, rel=0.05)
