"""Ratios and their spread."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.lab.bench import stats
from paceline.lab.bench.identity import first_difference, mismatches
from paceline.lab.bench.records import Counts, Run
from paceline.lab.bench.schedule import blocks
from paceline.lab.bench.stats import Cell
from paceline.lab.bench.summary import summarise


def a_run(mode, prompt, seconds, *, tokens=(1, 2, 3, 4), repeat=0, kind="code", counts=None):
    return Run(mode, prompt, kind, repeat, 0, seconds, tokens, counts)


timings = st.lists(st.floats(0.01, 100), min_size=1, max_size=12)


@settings(deadline=None)
@given(seconds=timings, factor=st.floats(0.1, 10))
def test_a_mode_that_takes_half_the_time_everywhere_is_twice_as_fast_without_spread(seconds, factor):
    base = {f"p{i}": Cell(10, s * factor) for i, s in enumerate(seconds)}
    mode = {f"p{i}": Cell(10, s) for i, s in enumerate(seconds)}

    found = stats.speedup(mode, base)

    assert found.value == pytest.approx(factor)
    if found.low is not None:
        assert (found.low, found.high) == (pytest.approx(factor), pytest.approx(factor))


@settings(deadline=None)
@given(one=timings, other=timings, unit=st.floats(0.001, 1000))
def test_the_unit_of_time_changes_no_ratio(one, other, unit):
    names = [f"p{i}" for i in range(min(len(one), len(other)))]
    ways = [dict(zip(names, (Cell(7, s) for s in way), strict=False)) for way in (one, other)]
    scaled = [{name: Cell(7, cell.seconds * unit) for name, cell in way.items()} for way in ways]

    assert stats.speedup(*ways).value == pytest.approx(stats.speedup(*scaled).value)


def test_a_ratio_worked_out_by_hand():
    base = {"a": Cell(100, 10.0), "b": Cell(50, 10.0)}
    mode = {"a": Cell(100, 5.0), "b": Cell(50, 5.0), "only here": Cell(9, 1.0)}

    assert stats.speedup(mode, base).value == pytest.approx((150 / 10) / (150 / 20))


def test_modes_that_share_no_prompt_have_no_ratio():
    assert stats.speedup({"a": Cell(1, 1.0)}, {"b": Cell(1, 1.0)}) is None


def test_a_prompt_counts_with_the_median_of_its_repeats():
    runs = [a_run("m", "p", s, repeat=i) for i, s in enumerate((1.0, 9.0, 2.0))]

    assert {"p": Cell(4, 2.0)} == stats.cells(runs, "m")


def test_the_best_static_gamma_in_hindsight_and_what_adapts_against_it():
    runs = [
        *(a_run("plain", f"p{i}", 4.0) for i in range(4)),
        *(a_run("static-2", f"p{i}", 2.0) for i in range(4)),
        *(a_run("static-4", f"p{i}", 2.5) for i in range(4)),
        *(a_run("online", f"p{i}", 1.6) for i in range(4)),
    ]

    result = summarise(runs, ["plain", "static-2", "static-4", "online"], static=["static-2", "static-4"])

    assert result.best_static == "static-2"
    assert result.over_best_static["online"].value == pytest.approx(1.25)
    assert {one.mode: pytest.approx(one.speedup.value) for one in result.summaries} == {
        "plain": 1.0,
        "static-2": 2.0,
        "static-4": 1.6,
        "online": 2.5,
    }


def test_counts_become_acceptance_gamma_and_overhead():
    counts = Counts(rounds=2, drafted=8, accepted=6, planned=10, decode_s=10.0, draft_s=2.0, verify_s=7.5)
    result = summarise([a_run("plain", "p", 1.0), a_run("m", "p", 1.0, counts=counts)], ["plain", "m"])

    one = result.summaries[1]
    assert (one.acceptance, one.tokens_per_round, one.gamma) == (0.75, 2.0, 5.0)
    assert one.overhead == pytest.approx(0.05)


def test_a_mode_whose_output_differs_is_counted_with_prompt_and_position():
    runs = [
        a_run("plain", "p", 1.0),
        a_run("wrong", "p", 1.0, tokens=(1, 2, 9, 4)),
        a_run("short", "p", 1.0, tokens=(1,)),
    ]

    result = summarise(runs, ["plain", "wrong", "short"])

    assert [(m.mode, m.prompt, m.position) for m in result.different] == [
        ("wrong", "p", 2),
        ("short", "p", 1),
    ]
    assert [one.differing for one in result.summaries] == [0, 1, 1]
    assert mismatches(runs[:1], "plain") == []


@settings(deadline=None)
@given(tokens=st.lists(st.integers(0, 3), max_size=9), other=st.lists(st.integers(0, 3), max_size=9))
def test_the_first_difference_is_where_the_outputs_part(tokens, other):
    found = first_difference(tokens, other)

    assert (found is None) == (tokens == other)
    if found is not None:
        assert tokens[: found[0]] == other[: found[0]]


def test_every_block_holds_every_mode_once_in_an_order_that_the_seed_repeats():
    one = list(blocks(["a", "b", "c"], ["p", "q"], repeats=3, seed=5))

    assert one == list(blocks(["a", "b", "c"], ["p", "q"], repeats=3, seed=5))
    assert all(sorted(block.order) == ["a", "b", "c"] for block in one)
    assert [(r, p) for r in range(3) for p in ("p", "q")] == [(block.repeat, block.prompt) for block in one]
    assert len({block.order for block in one}) > 1


def test_the_order_on_a_prompt_does_not_depend_on_the_other_prompts():
    few = {block.prompt: block.order for block in blocks("abcd", ["q"], repeats=1, seed=1)}
    many = {block.prompt: block.order for block in blocks("abcd", ["p", "q", "r"], repeats=1, seed=1)}

    assert few["q"] == many["q"]
