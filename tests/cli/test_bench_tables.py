"""The tables on a narrow terminal."""

import io

import pytest
from rich.console import Console

from paceline.cli._render import NAME_WIDTH
from paceline.cli.bench_tables import notes, tables
from paceline.lab.bench.records import Counts, Run
from paceline.lab.bench.summary import summarise

KINDS = ("code", "licence", "prose", "tables", "tests", "unfamiliar")
STATIC = [f"static-{gamma}" for gamma in range(1, 9)]
MODES = ["plain", *STATIC, *(f"policy-{i}" for i in range(15)), "online:window=50:max_gamma=8"]
COUNTS = Counts(
    rounds=1000, drafted=4000, accepted=3000, planned=12_300, decode_s=10.0, draft_s=2.0, verify_s=7.5
)


def a_bench(loops):
    runs = []
    for place, kind in enumerate(KINDS * 2):
        tokens = (5,) * 96 if place < loops else tuple(i * i % 10_007 for i in range(96))
        for pace, mode in enumerate(MODES):
            runs.append(Run(mode, f"{kind}-{place}", kind, 0, 0, 1.0 / (1 + pace + place), tokens, COUNTS))
    return summarise(runs, MODES, static=STATIC)


def shown(result, width):
    out = io.StringIO()
    console = Console(file=out, width=width, highlight=False)
    for part in (*(table.grid() for table in tables(result)), *notes(result)):
        console.print(part, markup=False)
    return out.getvalue()


@pytest.mark.parametrize("loops", [0, 6])
def test_25_modes_fit_80_columns_with_every_number_whole(loops):
    text = shown(a_bench(loops), 80)
    lines = text.splitlines()

    assert max(map(len, lines)) <= 80
    rows = [line for line in lines if line.startswith(("static-", "policy-", "online", "plain", "…"))]
    assert len(rows) >= 25 + 24 + 24
    for line in rows:
        assert "…" not in line[NAME_WIDTH:]
    assert ("varying" in text) is (loops > 0)


def test_the_best_static_gamma_is_told_with_its_spread_and_every_mode_against_it():
    result = a_bench(6)
    text = shown(result, 80)

    assert result.best_static == "static-8"
    assert result.over_best_static.keys() == {*MODES} - {"static-8"}
    assert any(note.startswith("* best static gamma of those run: static-8, ") for note in notes(result))
    best = next(one.speedup for one in result.summaries if one.mode == "static-8")
    assert f"({best.low:.2f}-{best.high:.2f})" in text
    assert "static-8 *" in text.split("compared")[1].splitlines()[0]


def test_every_mode_is_held_against_the_library_where_that_ran():
    runs = [
        Run(mode, "p", "code", 0, 0, seconds, (1,) * 8) for mode, seconds in (("plain", 2.0), ("lib", 4.0))
    ]
    text = shown(summarise(runs, ["plain", "lib"], reference="lib"), 80)

    assert "over" in text
    assert [line.split() for line in text.splitlines() if "0x" in line][-2:] == [
        ["plain", "2.00x"],
        ["lib", "1.00x"],
    ]
    assert "too few texts for an interval: it takes 5" in text


def test_loops_are_told_and_so_is_that_they_were_left_out():
    assert any("6 of 12 texts vary" in note for note in notes(a_bench(6)))
    assert not any("texts vary" in note for note in notes(a_bench(0)))
    only = summarise(
        [
            Run("plain", "p", "code", 0, 0, 1.0, (5,) * 96),
            Run("plain", "q", "code", 0, 0, 1.0, tuple(range(96))),
        ],
        ["plain"],
        only_varying=True,
    )
    assert any("only the 1 of 2 texts that vary" in note for note in notes(only))
