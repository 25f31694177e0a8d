"""One table in three forms, and one document."""

import csv
import io
import json
from functools import partial

import pytest
from rich.text import Text

from paceline.cli._render import Column, Format, Table, document, number, show
from paceline.lab.stats import Ratio, interval, share, times


@pytest.fixture
def table():
    columns = (
        Column("", name="order"),
        "policy",
        Column("over\nplain", times, interval),
        Column("cap-\ntured", lambda value: Text(share(value), style="red"), name="captured share"),
        Column("tok/\nround", partial(number, digits=1)),
    )
    table = Table(columns, caption="of all")
    table.add("shuffled", "online:window=[4]|x", Ratio(1.7234, 1.6, 1.8), Ratio(0.4012), 2.54, style="bold")
    table.add("shuffled", "a name that is far too long for any terminal", Ratio(1.0), None, 1.0)
    return table


def test_on_a_terminal_names_are_cut_and_numbers_are_whole(table, capsys):
    show("before [bold]", table)
    before, *_headings, first, second, caption = (
        line.rstrip() for line in capsys.readouterr().out.splitlines()
    )
    assert before == "before [bold]"
    assert first.split() == ["online:window=[4]|x", "1.72×", "1.60–1.80", "40%", "2.5"]
    assert second.split("…")[1].split() == ["1.00×", "1.0"]
    assert caption == "of all"


def test_in_markdown_headings_are_one_line_and_bars_are_escaped(table, capsys):
    show(table, form=Format.MARKDOWN)
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[:3] == [
        "| policy | over plain | 90% | captured | tok/round |",
        "| --- | --: | --: | --: | --: |",
        "| online:window=[4]\\|x | 1.72× | 1.60–1.80 | 40% | 2.5 |",
    ]
    assert lines[-1] == "of all"


def test_csv_has_the_tables_alone_with_numbers_as_they_are(table, capsys):
    other = Table(("policy",))
    other.add("gate")
    show("a sentence", table, table, other, form=Format.CSV)
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    headings = [
        "order",
        "policy",
        "over plain",
        "over plain low",
        "over plain high",
        "captured share",
        "tok/round",
    ]
    first = ["shuffled", "online:window=[4]|x", "1.7234", "1.6", "1.8", "0.4012", "2.54"]
    second = ["shuffled", "a name that is far too long for any terminal", "1.0", "", "", "", "1.0"]
    assert rows == [headings, first, second, first, second, [], ["policy"], ["gate"]]


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
        assert len(rows[0]) == len(rows[1]) == len(set(rows[0])) > 1, command
        assert all(name.strip() for name in rows[0]), command
        if command[0] in {"plugins", "report"}:
            done = cli.call(*command, "--format", "csv", "--json", code=2)
            assert "--json prints one document and --format tables: leave out one of them" in done.stderr
