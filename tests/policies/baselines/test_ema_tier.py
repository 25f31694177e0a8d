"""SGLang's tiers, step by step, and what holds of them whatever comes.

What ema-tier refuses: options that leave a batch without tiers, and states that no policy wrote.
"""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from paceline.core.records import Capabilities, DraftState, Plan, RoundStart, name_draft
from paceline.core.state.declared import load_fields, save_fields
from paceline.core.testing.playing import settle
from paceline.policies.baselines.ema_tier import EmaTierConfig, Windows
from paceline.testing import FixedCosts, play

PROPOSALS = st.lists(
    st.integers(1, 8).flatmap(lambda d: st.tuples(st.integers(0, d), st.just(d))), max_size=30
)


def counted(proposals, size=20):
    windows = Windows(size)
    for accepted, drafted in proposals:
        windows.count(accepted, drafted)
    return windows


@settings(deadline=None)
@given(proposals=PROPOSALS, size=st.integers(1, 10))
def test_each_share_is_that_of_the_last_proposals_that_reached_the_position(proposals, size):
    seen = max((drafted for _, drafted in proposals), default=0)
    tokens = counted(proposals, size).expected_tokens(seen)
    for position in range(seen):
        reached = [accepted > position for accepted, drafted in proposals if drafted > position][-size:]
        assert tokens[position + 1] - tokens[position] == pytest.approx(sum(reached) / len(reached))


def test_positions_not_seen_follow_the_geometric_series_of_those_seen():
    """Shares 0.8 and 0.4 fall by half from each position to the next."""
    windows = counted([(2, 2), (2, 2), (1, 2), (1, 2), (0, 2)])
    assert windows.expected_tokens(4) == pytest.approx([1.0, 1.8, 2.2, 2.4, 2.5])


def test_from_one_position_seen_acceptance_falls_as_it_fell_to_there_and_none_stands_for_nothing():
    assert counted([(1, 1), (0, 1)]).expected_tokens(3) == pytest.approx([1.0, 1.5, 1.75, 1.875])
    assert counted([]).expected_tokens(2) == [1.0, 1.0, 1.0]
    assert not counted([])


def test_what_was_never_accepted_is_not_expected():
    assert counted([(0, 2)]).expected_tokens(4) == [1.0] * 5


@settings(deadline=None)
@given(proposals=PROPOSALS, most=st.integers(0, 12))
def test_a_longer_round_never_yields_fewer_tokens_nor_more_than_it_drafts(proposals, most):
    tokens = counted(proposals).expected_tokens(most)
    assert len(tokens) == most + 1
    assert tokens == sorted(tokens)
    assert all(1.0 <= n <= gamma + 1 + 1e-9 for gamma, n in enumerate(tokens))


@settings(deadline=None)
@given(proposals=PROPOSALS, position=st.integers(0, 9))
def test_forgetting_leaves_the_positions_before_alone(proposals, position):
    windows, whole = counted(proposals), counted(proposals)
    windows.forget_from(position)
    assert windows.expected_tokens(position) == pytest.approx(whole.expected_tokens(position))
    assert list(windows.positions) == list(whole.positions)[:position]


@settings(deadline=None)
@given(proposals=PROPOSALS, size=st.integers(1, 30))
def test_a_saved_state_reads_back_and_is_cut_to_the_size_of_the_reader(proposals, size):
    saved = save_fields(counted(proposals))
    assert save_fields(load_fields(Windows(20), saved)) == saved
    cut = [window[-size:] for window in saved["positions"]]
    assert save_fields(load_fields(Windows(size), saved)) == {"positions": cut}


LADDER = [{"batch": 1, "tiers": [0, 1, 3, 7]}]
AT_ONCE = {"warmup": 0, "every": 1}


def begin(budget=100, batch=1, *, draft_s=1.0, lags=("draft",), **able):
    costs = FixedCosts(draft_s, 10.0)
    return RoundStart(
        3, 10, 50, budget, dict.fromkeys(lags, DraftState(0)), costs, Capabilities(**able), batch=batch
    )


def step(policy, accepted, start=None):
    """Plan a round, let the target accept so many of its tokens, and return gamma."""
    start = start or begin()
    plan = name_draft(policy.plan(start), start.drafts)
    policy.observe(settle(start, plan, drafted=plan.gamma, accepted=min(accepted, plan.gamma)))
    return plan.gamma


def standing_at(tier, mean, **options):
    policy = EmaTierConfig(**({"slots": [{"batch": 1, "tiers": [1, 3, 5, 7]}]} | options)).build()
    policy.load_state_dict(policy.state_dict() | {"slots": [{"tier": tier, "mean": mean, "left": 0}]})
    return policy


def test_on_easy_text_it_climbs_after_the_warm_up():
    """It starts at 5 with mean 4. Fifteen times 5 accepted make 5 - 0.8^15 = 4.96, above 4.5, so 7."""
    policy = EmaTierConfig().build()
    assert [step(policy, 16) for _ in range(30)] == [5] * 15 + [7] * 15


def test_on_hard_text_it_comes_down_as_far_as_the_mean_calls_for():
    """After fifteen refusals the mean is 4 * 0.8^15 = 0.14: not above 2.25, so past 3; not above 0.25, so to 1."""
    policy = EmaTierConfig().build()
    assert [step(policy, 0) for _ in range(17)] == [5] * 15 + [1, 1]


def test_between_two_moves_lie_five_rounds():
    """From 0.14 * 0.8^2 = 0.09, 1 accepted five times makes 1 - 0.91 * 0.8^3 over the first three: 0.53, so up to 3."""
    policy = EmaTierConfig().build()
    gammas = [step(policy, 0) for _ in range(17)] + [step(policy, 1) for _ in range(4)]
    assert gammas[15:] == [1, 1, 1, 1, 1, 3]
    assert policy.state.slots[0].mean == pytest.approx(1 - (1 - 4 * 0.8**17) * 0.8**4)


@pytest.mark.parametrize(
    ("tier", "mean", "after"),
    [
        (5, 2.26, 5),  # down to 3 at 3 - 0.5 - 0.25
        (5, 2.25, 3),
        (3, 0.26, 3),  # down to 1 at 1 - 0.5 - 0.25
        (3, 0.25, 1),
        (3, 2.5, 3),  # up to 5 above 3 - 0.5
        (3, 2.51, 5),
        (1, 4.51, 7),  # several tiers at once
        (7, 0.0, 1),
    ],
)
def test_the_thresholds_are_those_of_the_source(tier, mean, after):
    assert standing_at(tier, mean).plan(begin()).gamma == after


@pytest.mark.parametrize(("mean", "after"), [(0.26, 1), (0.25, 0)])
def test_tier_0_is_reached_when_hardly_anything_is_accepted(mean, after):
    assert standing_at(1, mean, slots=LADDER).plan(begin()).gamma == after


def test_hystereses_shift_the_thresholds():
    options = {"up_hysteresis": 0.3, "down_hysteresis": -1.0}
    assert standing_at(3, 2.79, **options).plan(begin()).gamma == 3
    assert standing_at(3, 2.81, **options).plan(begin()).gamma == 5
    assert standing_at(5, 1.51, **options).plan(begin()).gamma == 5
    assert standing_at(5, 1.5, **options).plan(begin()).gamma == 3


@pytest.mark.parametrize("cost_aware", [False, True])
def test_tier_0_is_always_left_for_a_probe(cost_aware):
    """Fifteen refusals take the mean from 2 to 2 * 0.8^15 = 0.07, not above 0.25."""
    policy = EmaTierConfig(slots=LADDER, cost_aware=cost_aware).build()
    gammas = [step(policy, 0, begin(draft_s=30.0)) for _ in range(40)]
    assert gammas == [3] * 15 + ([0] * 5 + [1] * 5) * 2 + [0] * 5


def test_it_leaves_tier_0_for_good_when_the_text_becomes_easy():
    rounds = play(EmaTierConfig(slots=LADDER).build(), [False] * 60 + [True] * 200)
    assert {r.plan.gamma for r in rounds[20:50]} == {0, 1}
    assert min(r.plan.gamma for r in rounds[-8:-3]) == 7


@settings(deadline=None)
@given(
    tier=st.sampled_from([1, 3, 5, 7]),
    means=st.tuples(st.floats(0.0, 8.0), st.floats(0.0, 8.0)).map(sorted),
)
def test_the_more_was_accepted_the_higher_the_tier(tier, means):
    low, high = (standing_at(tier, mean).plan(begin()).gamma for mean in means)
    assert low <= high


BITS = st.lists(st.integers(0, 16), max_size=60)


@settings(deadline=None, max_examples=60)
@given(
    verdicts=BITS,
    batches=st.lists(st.integers(1, 100), min_size=60, max_size=60),
    budgets=st.lists(st.integers(0, 20), min_size=60, max_size=60),
    gammas=st.none() | st.sets(st.integers(1, 12), min_size=1).map(lambda s: tuple(sorted(s))),
    zero=st.booleans(),
    cost_aware=st.booleans(),
)
def test_every_plan_is_a_tier_of_its_batch_or_what_the_budget_leaves(
    verdicts, batches, budgets, gammas, zero, cost_aware
):
    config = EmaTierConfig(**AT_ONCE, cost_aware=cost_aware)
    policy = config.build()
    for accepted, batch, budget in zip(verdicts, batches, budgets, strict=False):
        listed = [slot.tiers for slot in config.slots if slot.batch <= batch][-1]
        gamma = step(policy, accepted, begin(budget, batch, gammas=gammas, zero_gamma=zero))
        assert gamma <= budget
        if gammas is None:
            assert gamma == budget or gamma in listed or (gamma == 1 and not zero)
        else:
            assert gamma in (0, *gammas)
            assert gamma <= listed[-1] or gamma == gammas[0]


def test_batches_of_different_size_learn_apart():
    policy, alone = EmaTierConfig().build(), EmaTierConfig().build()
    for _ in range(40):
        step(policy, 16, begin(batch=4))
        step(policy, 0, begin(batch=8))
        step(policy, 0, begin(batch=9))
        step(alone, 16)
    assert policy.state.slots[0] == alone.state.slots[0]
    assert policy.state.slots[1] != EmaTierConfig().build().state.slots[1]
    assert policy.state.slots[2:] == EmaTierConfig().build().state.slots[2:]
    assert step(policy, 0, begin(batch=500)) == 0


@pytest.mark.parametrize(
    ("engine", "tiers", "reached"),
    [
        ({"gammas": (2, 6)}, [1, 3, 5, 7], {2, 6}),
        ({"gammas": (2, 6, 12)}, [0, 8], {0, 2, 6}),
        ({"gammas": (2, 6), "zero_gamma": False}, [0, 8], {2, 6}),
        ({"gammas": (8, 16)}, [1, 3], {8}),
        ({"gammas": (8, 16)}, [0, 3], {0}),
        ({"zero_gamma": False}, [0], {1}),
    ],
)
def test_an_engines_own_gammas_are_the_tiers(engine, tiers, reached):
    policy = EmaTierConfig(slots=[{"batch": 1, "tiers": tiers}], **AT_ONCE).build()
    verdicts = [0] * 40 + [16] * 40 + [0] * 40
    assert {step(policy, accepted, begin(**engine)) for accepted in verdicts} == reached


@pytest.mark.parametrize("tier", [0, 3])
@settings(deadline=None)
@given(
    drafted=st.integers(1, 8), accepted=st.integers(0, 8), ended=st.sampled_from(["eos", "stop", "length"])
)
def test_a_round_that_was_ended_or_proposed_nothing_changes_nothing(tier, drafted, accepted, ended):
    policy = standing_at(tier, 2.0, slots=LADDER)
    policy.load_state_dict(policy.state_dict() | {"slots": [{"tier": tier, "mean": 2.0, "left": 4}]})
    policy.plan(begin())
    before = policy.state_dict()
    policy.observe(
        settle(begin(), Plan(drafted, "draft"), drafted=drafted, accepted=min(accepted, drafted), ended=ended)
    )
    policy.observe(settle(begin(), Plan(drafted, "draft"), drafted=0, accepted=0))
    if tier:  # at the end of a text the budget may leave nothing to draft
        policy.observe(settle(begin(), Plan(0), drafted=0, accepted=0))
    assert policy.state_dict() == before


def test_a_short_proposal_that_was_accepted_as_a_whole_does_not_lower_the_mean():
    policy = standing_at(5, 3.0)
    policy.plan(begin())
    policy.observe(settle(begin(), Plan(5, "draft"), drafted=2, accepted=2))
    assert policy.state.slots[0].mean == 3.0
    policy.observe(settle(begin(), Plan(5, "draft"), drafted=2, accepted=1))
    assert policy.state.slots[0].mean == pytest.approx(0.8 * 3.0 + 0.2 * 1)


def test_by_cost_the_tier_of_most_tokens_per_second_wins():
    """The first token is always right and the second never: 2 tokens take 11 s at tier 1, 13 s at 3, 17 s at 7."""
    policy = EmaTierConfig(slots=LADDER, warmup=0, cost_aware=True).build()
    assert [step(policy, 1) for _ in range(10)] == [3] * 5 + [1] * 5


def test_by_cost_a_tier_is_not_left_for_a_gain_of_a_tenth_or_less():
    """One token of three is accepted: tier 1 takes 11.65 / 10.55 = 1.104 times less time than 3, then 11.5 / 10.5."""
    for draft_s, after in ((0.55, 1), (0.5, 3)):
        policy = EmaTierConfig(slots=LADDER, warmup=0, cost_aware=True).build()
        assert [step(policy, 1, begin(draft_s=draft_s)) for _ in range(6)] == [3] * 5 + [after]


def test_by_cost_positions_not_seen_are_extrapolated_and_then_seen():
    """At tier 1 every token is accepted: the series says 8 tokens in 17 s at tier 7, and it is tried."""
    policy = EmaTierConfig(slots=LADDER, warmup=0, cost_aware=True).build()
    policy.load_state_dict(policy.state_dict() | {"slots": [{"tier": 1, "mean": 1.0, "left": 5}]})
    assert [step(policy, 16) for _ in range(7)] == [1] * 5 + [7] * 2


@pytest.mark.parametrize(("alpha", "draft_s", "best"), [(0.5, 2.0, 1), (0.9, 0.2, 7)])
def test_by_cost_it_settles_on_the_best_tier(alpha, draft_s, best):
    """Tokens that are right half the time and dear give 1.5 in 12 s; those right nine times in ten, 5.7 in 11.4 s."""
    random = Random(0)
    bits = [random.random() < alpha for _ in range(3000)]
    rounds = play(EmaTierConfig(cost_aware=True).build(), bits, costs=FixedCosts(draft_s, 10.0))
    late = [r.plan.gamma for r in rounds[50:-5]]
    assert late.count(best) > 0.75 * len(late)


def test_going_down_forgets_the_positions_above():
    policy = EmaTierConfig(slots=LADDER).build()
    for _ in range(15):
        step(policy, 0)
    assert len(policy.state.windows.positions) == 3
    assert policy.plan(begin()).gamma == 0
    assert not policy.state.windows


def test_by_cost_a_slot_without_evidence_stays_where_it_is():
    """The windows are shared: when a large batch comes down to tier 0, they are empty for the small one too."""
    config = EmaTierConfig(
        slots=[{"batch": 1, "tiers": [1, 3, 5]}, {"batch": 8, "tiers": [0, 1]}], warmup=0, cost_aware=True
    )
    policy = config.build()
    for _ in range(5):
        step(policy, 3)
    for _ in range(6):
        gamma = step(policy, 0, begin(batch=8, draft_s=30.0))
    assert gamma == 0
    assert policy.plan(begin()).gamma == 3


def test_only_the_cost_aware_rule_needs_times():
    assert EmaTierConfig().build().requires.latency == "none"
    assert EmaTierConfig(cost_aware=True).build().requires.latency == "fused"


def test_the_draft_is_the_one_named():
    for named, lags, expected in (
        ("b", ("a", "b"), (5, "b")),
        (None, ("a", "b"), (5, "a")),
        (None, (), (0, None)),
    ):
        plan = EmaTierConfig(draft=named).build().plan(begin(lags=lags))
        assert (plan.gamma, plan.draft) == expected


@pytest.mark.parametrize(
    ("slots", "message"),
    [
        ([], "at least 1 item"),
        ([{"batch": 2, "tiers": [1]}], r"batches \[2\]; start at 1"),
        ([{"batch": 1, "tiers": [1]}, {"batch": 1, "tiers": [2]}], "let batches ascend"),
        ([{"batch": 1, "tiers": []}], "at least 1 item"),
        ([{"batch": 1, "tiers": [3, 1, 3]}], r"\[3, 1, 3\] do not ascend; write \[1, 3\]"),
        ([{"batch": 1, "tiers": [-1, 3]}], "greater than or equal to 0"),
    ],
)
def test_slots_with_holes_or_disorder_are_refused(slots, message):
    with pytest.raises(ValidationError, match=message):
        EmaTierConfig(slots=slots)
