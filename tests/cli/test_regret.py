"""`paceline regret` as a user runs it: on a replay of made-up texts."""

import json
from io import StringIO

import pytest
from rich.console import Console

from paceline.cli.regret import headroom_table
from paceline.core.generation import Totals
from paceline.lab.comparison import compare
from paceline.lab.figures import ALL, VARYING
from paceline.lab.hindsight import Hindsight
from paceline.lab.oracle.optimum import Optimum
from paceline.lab.replay.static_gamma import PLAIN
from paceline.lab.results import Measurement, Results


@pytest.fixture
def replayed(cli, tmp_path):
    cell, out = tmp_path / "cell.jsonl", tmp_path / "replay.jsonl"
    cli.call("record", "--synthetic", "regimes-0.12", "-o", cell, "--limit", 4, "-n", 60, code=0)
    call = ("replay", cell, "-p", "static-2,aimd", "--order", "recorded,shuffled", "--start", "warm")
    cli.call(*call, "--seeds", 2, "-j", 1, "-o", out, code=0)
    return cell, out


def test_the_table_and_the_json_say_how_much_was_captured(cli, replayed):
    cell, out = replayed
    shown = cli.call("regret", out, code=0).stdout.splitlines()
    assert shown[0].startswith("texts as recorded; what was learnt goes on from text to text; seed 0")
    first_words = [line.split()[0] for line in shown if line.strip()]
    assert {"static-0", "static-2", "aimd", "optimum"} <= set(first_words)
    shuffled = cli.call("regret", out, "--order", "shuffled", code=0).stdout
    assert shuffled.startswith("texts shuffled")

    found = json.loads(cli.call("regret", out, "--recording", cell, "--json", code=0).stdout)
    assert {(one["order"], one["seed"]) for one in found["verdicts"]} >= {("recorded", 0), ("shuffled", 1)}
    for one in found["verdicts"]:
        group = one["groups"]["all"]
        assert group["texts"] == 4
        assert group["regret_s"] >= 0
        assert group["captured"]["value"] <= 1
        if one["label"] == "static-0":
            assert group["captured"]["value"] == pytest.approx(0)


@pytest.mark.parametrize("command", ["regret", "report"])
def test_a_replay_that_did_not_end_is_told(cli, replayed, command):
    _, out = replayed
    out.write_bytes(b"".join(out.read_bytes().splitlines(keepends=True)[:-2]))
    assert "of a replay that did not end" in cli.call(command, out, code=0).stderr


def test_what_is_not_there_is_told(cli, replayed):
    cell, out = replayed
    wrong = cli.call("regret", out, "--order", "by-kind", code=2).stderr
    assert "it has: recorded warm, shuffled warm" in wrong
    cell.unlink()
    assert "without it the optimum is not known" in cli.call("regret", out, code=2).stderr


class Given(Hindsight):
    """The same reference times for every text."""

    def __init__(self):
        pass

    first_draft = ""

    def names(self):
        return ()

    def statics(self, text, draw=None):
        return {PLAIN: 10.0}

    def segmented_s(self, text, draw=None):
        return 7.0

    def optimum(self, text, draw=None):
        return Optimum(text, 4.0, True, ())

    def expected_s(self, text, draw=None):
        return 4.0


def test_the_table_fits_a_terminal_and_ends_with_the_optimum():
    results = Results(options={"static-0": {"name": "static", "gamma": 0}})
    long = "a-policy-with-a-very-long-name:of=options"
    for policy, seconds in (
        ("static-0", lambda _: 10.0),
        (long, lambda n: 7.0 - n / 8),
        ("quick", lambda _: 5.0),
    ):
        for number in range(8):
            taken = seconds(number)
            totals = Totals(rounds=5, emitted=10, seconds=taken)
            results.append(Measurement(policy, str(number), "code", number > 3, taken, totals))
    comparison = compare(results, hindsight=Given(), regret=True)
    out = StringIO()
    console = Console(file=out, width=80)
    for group in (ALL, VARYING):
        console.print(headroom_table(comparison, group).grid())
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    names = [
        line.split()[0] for line in lines if line[:1].strip() and not line.startswith(("policy", "over"))
    ]
    assert names.count("quick") == names.count("optimum") == 2
    assert names.index("quick") < names.index("optimum")
    quick = next(line for line in lines if line.startswith("quick"))
    assert quick.split()[1] == "2.00×"
    assert "83%" in quick  # (10 - 5) / (10 - 4)
    assert "100" in quick.split()  # 1 second of 10 for 10 tokens, in thousandths of a plain step
