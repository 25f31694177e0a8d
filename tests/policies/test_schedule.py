import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import paceline
from paceline.core.errors import ConfigError
from paceline.core.records import Capabilities, DraftState, Plan, RoundStart
from paceline.policies.schedule import ScheduleConfig
from paceline.testing import FixedCosts

GRID = [
    {"batch": [1, 4], "context": [1, 1000], "gamma": 6},
    {"batch": [1, 4], "context": [2000, 8000], "gamma": 3},
    {"batch": [8, 16], "gamma": 2},
    {"batch": [32, None], "context": [1, 500], "gamma": 1},
    {"batch": [32, None], "context": [501, None], "gamma": 0},
]


@pytest.mark.parametrize(
    ("batch", "context", "gamma"),
    [
        (1, 1, 6),
        (4, 1000, 6),
        (4, 1001, 6),  # a gap of contexts keeps the row before
        (4, 1999, 6),
        (4, 2000, 3),
        (1, 99_999, 3),
        (5, 10, 6),  # a gap of batches keeps the rows before
        (7, 5000, 3),
        (8, 10, 2),
        (31, 5000, 2),
        (32, 500, 1),
        (4000, 501, 0),
    ],
)
def test_every_round_has_exactly_one_row(batch, context, gamma, start):
    policy = ScheduleConfig(table=GRID).build()
    assert policy.plan(start(batch=batch, context=context)).gamma == gamma


@settings(deadline=None)
@given(
    starts=st.sets(st.integers(2, 60), max_size=6).map(lambda more: sorted({1, *more})),
    gammas=st.lists(st.integers(0, 9), min_size=7, max_size=7),
    width=st.integers(0, 9),
    batch=st.integers(1, 80),
)
def test_a_table_by_batch_says_what_the_same_entries_say_in_vllm(starts, gammas, width, batch):
    """Dynamic speculative decoding spreads [lo, hi, K] over all batches; what no entry holds keeps the K before."""
    ends = [*(following - 1 for following in starts[1:]), 100]
    entries = [
        (low, min(low + width, end), gamma) for low, end, gamma in zip(starts, ends, gammas, strict=False)
    ]
    spread = {}
    known = 0
    for size in range(1, 81):
        known = next((k for low, high, k in entries if low <= size <= high), known)
        spread[size] = known
    policy = ScheduleConfig(table=[{"batch": [low, high], "gamma": k} for low, high, k in entries]).build()
    start = RoundStart(0, 0, 9, 100, {"draft": DraftState(0)}, FixedCosts(), batch=batch)
    assert policy.plan(start).gamma == spread[batch]


def test_the_default_drafts_less_the_larger_the_batch(start):
    policy = ScheduleConfig().build()
    planned = [policy.plan(start(batch=batch)).gamma for batch in (1, 7, 8, 31, 32, 63, 64, 512)]
    assert planned == [4, 4, 2, 2, 1, 1, 0, 0]


def test_it_plans_gamma_or_what_budget_and_engine_leave(start):
    policy = ScheduleConfig(table=[{"gamma": 6}]).build()
    assert [policy.plan(start(budget)).gamma for budget in (0, 1, 6, 100)] == [0, 1, 6, 6]
    assert policy.plan(start(capabilities=Capabilities(gammas=(1, 3, 7)))).gamma == 3
    assert policy.plan(start(capabilities=Capabilities(gammas=(8, 9), zero_gamma=False))).gamma == 8


def test_only_a_table_with_gamma_0_requires_an_engine_that_can_do_without_drafting():
    assert ScheduleConfig().build().requires.zero_gamma
    assert not ScheduleConfig(table=[{"gamma": 1}]).build().requires.zero_gamma


def test_the_draft_is_named_unless_nothing_is_drafted(start):
    policy = ScheduleConfig(draft="b").build()
    lags = {"a": 0, "b": 0}
    assert policy.plan(start(lags=lags)) == Plan(4, "b")
    assert policy.plan(start(lags=lags, batch=64)) == Plan(0)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([], "at least 1 item"),
        ([{"batch": [2, 9], "gamma": 1}], "starts at batch 2; start at 1"),
        ([{"context": [9, 99], "gamma": 1}], "starts at context 9; start at 1"),
        (
            [{"batch": [1, 4], "gamma": 2}, {"batch": [5, 9], "context": [7, 9], "gamma": 1}],
            "row 1 is the first one of its batches and starts at context 7",
        ),
        ([{"batch": [9, 5], "gamma": 1}], r"\[9, 5\], which ends before it starts; write \[5, 9\]"),
        (
            [{"batch": [1, 4], "gamma": 2}, {"batch": [4, 9], "gamma": 1}],
            r"row 1, batch \[4, 9\], overlaps row 0, batch \[1, 4\]",
        ),
        ([{"gamma": 2}, {"batch": [5, 9], "gamma": 1}], r"overlaps row 0, batch \[1, null\]"),
        (
            [{"batch": [1, 4], "gamma": 3}, {"batch": [9, 12], "gamma": 2}, {"batch": [5, 8], "gamma": 1}],
            r"row 2, batch \[5, 8\], comes before row 1, batch \[9, 12\]; sort the rows",
        ),
        ([{"gamma": 2}, {"gamma": 1}], r"row 1, context \[1, null\], overlaps row 0, context \[1, null\]"),
        (
            [{"context": [1, 9], "gamma": 2}, {"context": [5, 20], "gamma": 1}],
            r"row 1, context \[5, 20\], overlaps row 0, context \[1, 9\]",
        ),
        ([{"batch": [0, 4], "gamma": 1}], "greater than or equal to 1"),
        ([{"gamma": -1}], "greater than or equal to 0"),
        ([{"batches": [1, 4], "gamma": 1}], "did you mean 'batch'"),
    ],
)
def test_a_table_with_holes_overlaps_or_disorder_is_refused(table, message):
    with pytest.raises(ValidationError, match=message):
        ScheduleConfig(table=table)


def test_a_run_file_is_told_where_its_table_is_wrong():
    wrong = {"policy": {"name": "schedule", "table": [{"batch": [1, 4], "gama": 2}]}}
    with pytest.raises(ConfigError, match=r"policy\.table\.0\.gama: unknown key; did you mean 'gamma'"):
        paceline.load_config(wrong)
