"""`paceline report` and `paceline tune`, from files, as a user runs them."""

import json
import shutil
import subprocess
import sys

import pytest

from paceline import load_config
from paceline.lab.recording.writer import write_recording
from paceline.lab.workloads.synthetic import cells, made_up


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a folder with a made-up recording and a replay of it, made by the command once for all."""
    folder = tmp_path_factory.mktemp("replayed")
    whole = made_up(*cells("regimes-0.12"), texts=10, tokens=150, longest=6)
    write_recording(folder / "recording.jsonl", whole)
    subprocess.run(
        [sys.executable, "-Im", "paceline.cli", "replay", "recording.jsonl",
         "--policies", "static-2,static-4,auto,online", "--order", "shuffled,by-kind", "--seeds", "1", "--jobs", "1"],
        cwd=folder, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return folder


@pytest.fixture
def replayed(cli, made):
    shutil.copytree(made, cli.folder, dirs_exist_ok=True)
    return cli.folder / "runs" / "replay.jsonl"


def test_report_writes_a_page_and_pictures_and_says_the_result(cli, replayed):
    done = cli.call("report", "--pictures", "pictures", code=0)

    page = (cli.folder / "runs" / "report.html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert str(cli.folder) not in page
    assert "plain decoding" in done.stdout
    assert "static-4" in done.stdout
    assert "generator and not from models" in " ".join(done.stdout.split())
    drawn = {path.name for path in (cli.folder / "pictures").iterdir()}
    assert {"ranking.svg", "timeline.svg", "regret.svg", "positions.svg", "shares.svg", "costs.svg"} <= drawn

    before = page
    cli.call("report", replayed, "-o", "again.html", code=0)
    assert (cli.folder / "again.html").read_text() == before


def test_report_prints_everything_as_json(cli, replayed):
    found = json.loads(cli.call("report", "--json", code=0).stdout)

    assert {row["label"] for row in found["rows"]} == {"static-0", "static-2", "static-4", "auto", "online"}
    assert found["made_up"] is True
    assert found["oracle"] >= max(row["speedup"]["value"] for row in found["rows"])


def test_tune_says_what_to_use_and_writes_a_run_file_that_loads(cli, replayed):
    done = cli.call("tune", "--tries", "3", code=0)

    path = cli.folder / "tuned.yaml"
    found = json.loads(cli.call("tune", "--tries", "3", "-o", "same.yaml", "--json", code=0).stdout)
    advice, _, engines = done.stdout.partition("Engines whose lengths are fixed")
    assert found["advice"].split() == advice.split()
    for engine, options in found["flags"].items():
        assert f"  {engine}: {options}\n" in engines
    assert set(found["flags"]) in ({"llama.cpp", "vLLM", "SGLang"}, set())
    assert found["variations"] == 3
    assert load_config(path).policy.name == found["policy"]["name"]
    assert path.read_text() == (cli.folder / "same.yaml").read_text()


def test_every_command_means_the_same_by_the_best_static_gamma(cli, made):
    """It is the best of all, also where it was not replayed."""
    shutil.copy(made / "recording.jsonl", cli.folder)
    only = ("--order", "recorded", "--start", "cold", "--seeds", "1", "--jobs", "1", "--json")
    (table,) = json.loads(cli.call("replay", "recording.jsonl", "-p", "static-1,aimd", *only, code=0).stdout)[
        "tables"
    ]
    verdicts = json.loads(cli.call("regret", "--json", code=0).stdout)["verdicts"]
    report = json.loads(cli.call("report", "--json", code=0).stdout)
    tuned = json.loads(cli.call("tune", "--tries", "0", "--json", code=0).stdout)

    names = {table["best_static"], report["best_static"], *(one["best_static"] for one in verdicts)}
    assert len(names) == 1
    assert not names & {"static-0", "static-1"}
    assert tuned["best_static"].startswith("static-")
    assert tuned["best_static"] not in {"static-0", "static-1"}
    for label in ("static-0", "static-1", "aimd"):
        figures = [
            next(row["over_static"] for row in table["rows"] if row["label"] == label),
            *(one["groups"]["all"]["over_static"]["value"] for one in verdicts if one["label"] == label),
            *(row["over_static"]["value"] for row in report["rows"] if row["label"] == label),
        ]
        assert figures == pytest.approx([figures[0]] * 3, rel=1e-12)


@pytest.mark.parametrize("command", ["report", "tune"])
def test_a_missing_replay_is_wrong_usage_and_told_how_to_make_one(cli, command):
    done = cli.call(command, "nothing.jsonl", code=2)

    assert "there is no replay nothing.jsonl" in done.stderr
    assert "paceline record" in done.stderr


def test_a_recording_that_is_not_the_one_replayed_is_refused(cli, replayed):
    write_recording(cli.folder / "other.jsonl", made_up(*cells("steady-0.5-0.12"), texts=2, tokens=50))

    done = cli.call("report", "--recording", "other.jsonl", code=2)
    assert "another recording" in done.stderr
    assert "--recording" in done.stderr
    assert (
        "there is no recording gone.jsonl" in cli.call("report", "--recording", "gone.jsonl", code=2).stderr
    )


def test_without_its_recording_a_replay_still_makes_a_report(cli, replayed):
    (cli.folder / "recording.jsonl").unlink()

    done = cli.call("report", code=0)
    assert "recording.jsonl is not there" in done.stderr
    assert 'id="timeline"' not in (cli.folder / "runs" / "report.html").read_text()


def test_a_file_that_is_no_replay_is_refused_with_its_line(cli):
    cli.file("wrong.jsonl", "{}\n")

    done = cli.call("report", "wrong.jsonl", code=1)
    assert "wrong.jsonl:1" in done.stderr
    assert "paceline replay" in done.stderr


def test_a_page_that_cannot_be_written_is_wrong_usage(cli, replayed):
    cli.file("taken", "")

    assert "taken" in cli.call("report", "-o", "taken/report.html", code=2).stderr
