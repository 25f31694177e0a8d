"""The commands, at a size that takes seconds, and the page of the experiment."""

import json

import pytest
from typer.testing import CliRunner

from paceline_colead.cli import app, main
from paceline_colead.evolve import KINDS, Outcome, Settings
from paceline_colead.page import claims, page, table


def outcome(seed, stage, **shares):
    known = dict.fromkeys(KINDS, 0.5) | shares
    return Outcome(
        "editing",
        seed,
        stage,
        known,
        known,
        20,
        19,
        {"before": 0.4, "after": 0.8},
        2.0 + 0.1 * seed,
        6.5,
        True,
    )


def test_the_demo_writes_executes_and_counts():
    done = CliRunner().invoke(
        app, ["demo", "--steps", "2", "--stage", "1", "delete the first word", "frobnicate"]
    )
    assert done.exit_code == 0, done.output
    assert "DELETE ( WORD ( 1 ) , EVERY_LINE ( ) )" in done.output
    assert "'one two three four five six' becomes ' two three four five six'" in done.output
    assert "tokens, all those of plain decoding" in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--domain", "cooking"], "none of editing, flights"),
        (["--stage", "9"], "there is no stage 9; there are 1 to 3"),
        (["delete the first word", " "], "a query is empty; say what to do"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_1(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["paceline-colead", "demo", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 1
    assert message in capsys.readouterr().err


def test_the_experiment_writes_numbers_and_a_page(tmp_path):
    sizes = ["--labelled", "4", "--unlabelled", "10", "--test", "2", "--steps", "1", "--seeds", "1"]
    done = CliRunner().invoke(app, ["evolve", "--domain", "editing", *sizes, "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    document = json.loads((tmp_path / "outcomes.json").read_text(encoding="utf-8"))
    assert [each["stage"] for each in document["outcomes"]] == [1, 2, 3]
    assert document["settings"]["labelled"] == 4
    assert "<svg" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert done.output.count("editing ") == 3


def test_a_claim_holds_where_the_gain_is_beyond_its_interval():
    good = [outcome(seed, 1, colead=0.9 + 0.01 * seed) for seed in range(5)]
    exact, _ = claims(good)
    assert exact == [
        "1, exact",
        "+42.0 ± 1.5, holds",
        "+42.0 ± 1.5, holds",
        "+0.0 ± 0.0, does not hold",
        "+0.0 ± 0.0, does not hold",
    ]
    alone, _ = claims(good[:1])
    assert alone[1] == "+40.0"


def test_the_page_shows_means_with_intervals_and_what_failed():
    outcomes = [outcome(seed, stage) for seed in range(5) for stage in (1, 2)]
    text = page(outcomes, Settings())
    for shown in ("2.20 ± 0.15", "95 of 100", "does not hold", "80.0 ± 0.0 %", "5 seeds"):
        assert shown in text
    assert table(outcomes).count("50.0 ± 0.0 %") == 10
