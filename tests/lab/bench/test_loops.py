"""Texts that go round in circles are told from those that vary."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.lab.bench.loops import Texture, texture
from paceline.lab.bench.records import Run
from paceline.lab.bench.summary import summarise

VARIED = tuple(i * i % 10_007 for i in range(96))
LOOPED = (*range(1000, 1032), *tuple(range(32)) * 2)


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (VARIED, Texture(loops=False, repeats=False)),
        (LOOPED, Texture(loops=True, repeats=True)),
        (LOOPED[:-1], Texture(loops=False, repeats=True)),  # the last 64 tokens no longer repeat
        (tuple(range(33)) * 2, Texture(loops=False, repeats=True)),  # a period of 33 is no loop
        ((7,) * 63, Texture(loops=False, repeats=True)),  # too short for a loop
        ((7,) * 64, Texture(loops=True, repeats=True)),
        (tuple(range(7)) * 2, Texture(loops=False, repeats=False)),  # 7 runs of eight, all different
        ((), Texture(loops=False, repeats=False)),
    ],
)
def test_what_texts_are_like(tokens, expected):
    assert texture(tokens) == expected


def test_a_quarter_of_the_runs_is_enough_to_repeat():
    # 8 + r tokens, then those again: of 2 (8 + r) - 7 runs, 1 + r occurred before.
    for length, repeats in ((10, False), (12, True)):
        tokens = tuple(range(length)) * 2
        runs = len(tokens) - 7
        assert ((length - 7) / runs >= 0.25) is repeats
        assert texture(tokens).repeats is repeats


@settings(deadline=None)
@given(period=st.integers(1, 32), begin=st.lists(st.integers(), max_size=40))
def test_a_short_period_at_the_end_is_a_loop_whatever_came_before(period, begin):
    assert texture([*begin, *(i % period for i in range(64))]).loops


def a_run(mode, prompt, seconds, tokens):
    return Run(mode, prompt, "code", 0, 0, seconds, tokens)


RUNS = [
    *(a_run("plain", f"varied-{i}", 4.0, VARIED) for i in range(2)),
    *(a_run("plain", f"looped-{i}", 4.0, LOOPED) for i in range(2)),
    *(a_run("fast", f"varied-{i}", 2.0, VARIED) for i in range(2)),
    *(a_run("fast", f"looped-{i}", 1.0, LOOPED) for i in range(2)),
]


def test_speed_is_given_apart_for_texts_that_vary_and_that_loop():
    plain, fast = summarise(RUNS, ["plain", "fast"]).summaries

    assert (fast.varying.value, fast.looping.value) == (pytest.approx(2.0), pytest.approx(4.0))
    assert fast.speedup.value == pytest.approx(8 / 3)
    assert plain.varying.value == plain.looping.value == 1.0


def test_only_the_texts_that_vary_can_be_reported():
    result = summarise(RUNS, ["plain", "fast"], only_varying=True)

    assert result.only_varying
    assert [one.runs for one in result.summaries] == [2, 2]
    assert result.summaries[1].speedup.value == pytest.approx(2.0)
    assert result.summaries[1].looping is None
    assert {prompt: text.varies for prompt, text in result.textures.items()} == {
        "varied-0": True,
        "varied-1": True,
        "looped-0": False,
        "looped-1": False,
    }


def test_what_a_text_is_like_is_judged_by_the_first_run_of_plain_decoding():
    runs = [
        a_run("plain", "p", 1.0, VARIED),
        a_run("plain", "p", 1.0, LOOPED),
        a_run("fast", "p", 1.0, LOOPED),
    ]

    assert summarise(runs, ["plain", "fast"]).textures["p"].varies
