"""One table in three forms, and one document."""

import csv
import io
import json

import pytest
from rich.text import Text

from paceline.cli._render import Format, Table, document, show


@pytest.fixture
def table():
    table = Table(("policy", "over\nplain", "cap-\ntured", "tok/\nround"), caption="of all")
    table.add("online:window=[4]|x", "1.72x", Text("40%", style="red"), "2.5", style="bold")
    table.add("a name that is far too long for any terminal", "1.00x", "", "1.0")
    return table


def test_on_a_terminal_names_are_cut_and_numbers_are_whole(table, capsys):
    show("before [bold]", table)
    before, *_headings, first, second, caption = (
        line.rstrip() for line in capsys.readouterr().out.splitlines()
    )
    assert before == "before [bold]"
    assert first.split() == ["online:window=[4]|x", "1.72x", "40%", "2.5"]
    assert second.split("…")[1].split() == ["1.00x", "1.0"]
    assert caption == "of all"


def test_in_markdown_headings_are_one_line_and_bars_are_escaped(table, capsys):
    show(table, form=Format.MARKDOWN)
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[:3] == [
        "| policy | over plain | captured | tok/round |",
        "| --- | --: | --: | --: |",
        "| online:window=[4]\\|x | 1.72x | 40% | 2.5 |",
    ]
    assert lines[-1] == "of all"


def test_csv_has_the_tables_alone(table, capsys):
    show("a sentence", table, form=Format.CSV)
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert rows[0] == ["policy", "over plain", "captured", "tok/round"]
    assert rows[2][0] == "a name that is far too long for any terminal"
    assert "a sentence" not in str(rows)


def test_a_document_says_its_kind_and_version_first():
    assert list(json.loads(document("regret", {"window": 64}))) == ["kind", "version", "window"]


def test_every_command_with_tables_writes_them_in_each_form(cli, toy):
    cli.call("record", "--synthetic", "steady-0.8-0.04", "--limit", 4, "-n", 40, code=0)
    cli.call("replay", "--policies", "static-2", "--seeds", 1, "--jobs", 1, code=0)
    for command in (
        ("plugins",),
        ("bench", "-c", toy, "-p", "static-2", "--limit", 1, "-n", 10),
        ("bench", "--decisions", "-p", "static"),
        ("replay", "--policies", "static-2", "--seeds", 1, "--jobs", 1),
        ("regret",),
        ("report",),
    ):
        assert "\n| --- |" in cli.call(*command, "--format", "markdown", code=0).stdout, command
        rows = list(csv.reader(io.StringIO(cli.call(*command, "--format", "csv", code=0).stdout)))
        assert len(rows[0]) == len(rows[1]) > 1, command
