"""`paceline regret` as a user runs it: on a replay of made-up texts."""

import json

import pytest


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


def test_what_is_not_there_is_told(cli, replayed):
    cell, out = replayed
    wrong = cli.call("regret", out, "--order", "by-kind", code=2).stderr
    assert "it has: recorded warm, shuffled warm" in wrong
    cell.unlink()
    assert "without it the optimum is not known" in cli.call("regret", out, code=2).stderr
