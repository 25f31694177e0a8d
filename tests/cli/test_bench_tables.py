"""The tables of a bench on a narrow terminal."""

import io

import pytest
from rich.console import Console

from paceline.cli._render import NAME_WIDTH
from paceline.cli.bench_tables import notes, tables
from paceline.core.generation import Totals
from paceline.lab.bench.choices import Choice
from paceline.lab.bench.run import Bench, Timed
from paceline.lab.bench.summary import summarise
from paceline.lab.workloads.prompts import Prompt

KINDS = ("code", "licence", "prose", "tables", "tests", "unfamiliar")
STATIC = [f"static-{gamma}" for gamma in range(1, 9)]
MODES = ["plain", *STATIC, *(f"policy-{i}" for i in range(15)), "online:window=50:max_gamma=8"]
OPTIONS = {name: {"name": "static", "gamma": int(name[-1])} for name in STATIC}


@pytest.fixture(autouse=True, scope="module")
def _garbage_is_left():
    """A bench collects garbage before each run; here a run takes nothing, and the garbage is that of all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gc.collect", lambda: 0)
        yield


class Fixed:
    """Takes its pace on every prompt, and a little less on later ones; some texts loop."""

    def __init__(self, name, pace, loops=0):
        self.name, self.pace, self.loops = name, pace, loops

    def run(self, prompt, max_new_tokens):
        (place,) = prompt
        tokens = (5,) * 96 if place < self.loops else tuple(i * i % 10_007 for i in range(96))
        totals = Totals(
            rounds=1000, drafted=4000, accepted=3000, emitted=96, draft_s=2.0, verify_s=7.5, seconds=10.0,
            gammas={12: 1000},
        )  # fmt: skip
        return Timed(1.0 / (1 + self.pace + place), tokens, totals)


def a_summary(loops, *, modes=MODES, choice=None, **options):
    listed = [Fixed(mode, pace, loops) for pace, mode in enumerate(modes)]
    prompts = [Prompt(f"{kind}-{place}", kind, (place,)) for place, kind in enumerate(KINDS * 2)]
    bench = Bench({mode.name: mode for mode in listed}, prompts, 96)
    list(bench.run())
    return summarise(bench, choice or Choice(static=STATIC, policies=OPTIONS), **options)


def shown(summary, width):
    out = io.StringIO()
    console = Console(file=out, width=width, highlight=False)
    for table in tables(summary):
        console.print(table.grid())
    for note in notes(summary):
        console.print(note, markup=False)
    return out.getvalue()


@pytest.mark.parametrize("loops", [0, 6])
def test_25_modes_fit_80_columns_with_every_number_whole(loops):
    text = shown(a_summary(loops), 80)
    lines = text.splitlines()

    assert max(map(len, lines)) <= 80
    rows = [line for line in lines if line.startswith(("static-", "policy-", "online", "plain", "…"))]
    assert len(rows) >= 25 + 24 + 24
    for line in rows:
        assert "…" not in line[NAME_WIDTH:]
    assert ("varying" in text) is (loops > 0)


def test_the_best_static_gamma_is_told_with_its_spread_and_every_mode_against_it():
    summary = a_summary(6)
    text = shown(summary, 80)

    assert summary.best_static.policy == "static-8"
    assert any(note.startswith("* best static gamma of those run: static-8, ") for note in notes(summary))
    best = summary.best_static.all.speedup
    assert f"({best.low:.2f}–{best.high:.2f})" in text
    assert "static-8 *" in text.split("compared")[1].splitlines()[0]


def test_every_mode_is_held_against_the_library_where_that_ran():
    text = shown(a_summary(0, modes=["lib", "plain"], choice=Choice(reference="lib")), 80)
    after = text.split("compared")[1].splitlines()
    rows = [line.split() for line in after if line.startswith(("plain", "lib"))]
    assert [row[0] for row in rows] == ["plain", "lib"]
    assert rows[1] == ["lib", "1.00×"]


def test_a_mode_that_differs_is_noted_with_prompt_and_position():
    class Wrong(Fixed):
        def run(self, prompt, max_new_tokens):
            timed = super().run(prompt, max_new_tokens)
            return timed._replace(tokens=(*timed.tokens[:2], 99, *timed.tokens[3:]))

    bench = Bench({"plain": Fixed("plain", 0), "wrong": Wrong("wrong", 1)}, [Prompt("p", "code", (0,))], 96)
    list(bench.run())
    summary = summarise(bench, Choice())
    assert any(
        "wrong differs from plain on p" in note and "expected 4, found 99" in note for note in notes(summary)
    )
    assert "1 differ" in shown(summary, 80)
    assert "too few texts for an interval: it takes 5" in shown(summary, 80)


def test_loops_are_told_and_so_is_that_they_were_left_out():
    assert any("6 of 12 texts vary" in note for note in notes(a_summary(6)))
    assert not any("texts vary" in note for note in notes(a_summary(0)))
    only = a_summary(6, only_varying=True)
    assert any("only the 6 of 12 texts that vary" in note for note in notes(only))


def test_nothing_finished_is_an_empty_table():
    (table,) = tables(summarise(Bench({}, [], 5), Choice()))
    assert table.rows == []
