"""`paceline replay`, as a user runs it."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from paceline.lab.recording.files import lines
from paceline.lab.results import Results

PROMPTS = "".join(
    json.dumps({"id": f"p{n}", "kind": "ab"[n % 2], "text": f"prompt number {n}"}) + "\n" for n in range(4)
)
RUN = """\
target: {backend: toy, seed: 3}
drafts: {good: {backend: toy, agreement: 0.9}}
generation: {max_new_tokens: 40}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory, cli_in):
    """Return two recordings of the toy pair, of all prompts and of two."""
    cli = cli_in(tmp_path_factory.mktemp("recorded"))
    run, prompts = cli.file("run.yaml", RUN), cli.file("prompts.jsonl", PROMPTS)
    command = ("record", "-c", run, "-w", prompts, "--longest", 4, "--measure", "none")
    cli.call(*command, "-o", "all.jsonl.zst", code=0)
    cli.call(*command, "-o", "two.jsonl.zst", "--limit", 2, code=0)
    return cli.folder


@pytest.fixture
def recorded(cli, made):
    """Return the path of a recording of the toy pair, where a recording belongs."""
    path = cli.folder / "runs" / "recording.jsonl.zst"
    path.parent.mkdir()
    return shutil.copy(made / "all.jsonl.zst", path)


@pytest.fixture
def here(run_here, cli, monkeypatch, capsys):
    """Run in this process, in the folder of the test; return the exit code and what was written."""
    monkeypatch.chdir(cli.folder)

    def run(*arguments):
        code = run_here("replay", *arguments, "--jobs", 1)
        return code, capsys.readouterr()

    return run


def test_a_recording_that_was_cut_off_is_replayed_as_far_as_it_goes_and_says_so(cli, here, recorded):
    path = cli.folder / "runs" / "recording.jsonl.zst"
    lines_of = [line for _, _, line in lines(path)]
    (cli.folder / "cut.jsonl").write_bytes(b"".join(lines_of[:-1]))
    code, said = here("cut.jsonl", "-p", "static-1", "--seeds", 1)
    count = sum(b'"kind":"text"' in line for line in lines_of)
    assert code == 0
    assert f"paceline: cut.jsonl was interrupted or cut off; {count} texts of it are replayed" in said.err


def test_without_options_every_policy_is_ranked_and_the_passes_are_kept(cli, here, recorded):
    done = cli.call("replay", "--seeds", 1, "--jobs", 2, code=0)
    for title in ("texts shuffled", "texts kind by kind", "texts as recorded"):
        assert title in done.stdout
    assert "survival" in done.stdout
    assert "'cached-fsm' was left out: text" in done.stderr
    assert "--keep-prompts" in done.stderr
    found = Results.read(cli.folder / "runs" / "replay.jsonl")
    assert found.complete
    labels = set(found.policies())
    assert {"static-0", "static-4", "survival", "auto"} <= labels
    assert "cached-fsm" not in labels
    assert "cached-fsm" in found.left_out
    ways = {(one.order, one.start) for one in found.passes}
    assert ways == {("shuffled", "warm"), ("by-kind", "warm"), ("recorded", "cold")}
    code, again = here("--seeds", 1)
    assert code == 0
    assert "passes were in" in again.err
    assert again.out == done.stdout


def test_one_process_finds_what_several_find(cli, here, recorded):
    command = ("-p", "thompson,static-2,svip", "--seeds", 2, "-o")
    cli.call("replay", *command, "several.jsonl", "-j", 2, code=0)
    assert here(*command, "one.jsonl")[0] == 0
    found = [Results.read(cli.folder / name) for name in ("several.jsonl", "one.jsonl")]
    assert found[0] == found[1]


def test_a_summary_for_programs(here, recorded):
    code, done = here("-p", "static-3,online:window=5", "--order", "switching", "--json")
    assert code == 0
    found = json.loads(done.out)
    ways = [(one["order"], one["start"]) for one in found["tables"]]
    assert ways == [("switching", "warm"), ("switching", "cold")]
    rows = {row["label"]: row for row in found["tables"][0]["rows"]}
    assert rows.keys() == {"static-0", "static-3", "online:window=5"}
    assert rows["static-0"]["over_plain"] == 1.0
    assert found["passes"] == 2 * 3 * 3


def test_the_policy_of_a_run_file_is_tried_as_config(here, recorded, toy):
    code, done = here("-c", toy, "--set", "policy.name=aimd", "-p", "config", "--json")
    assert code == 0
    assert "config" in {row["label"] for row in json.loads(done.out)["tables"][0]["rows"]}
    code, done = here("-p", "config")
    assert code == 2
    assert "name the file with --config" in done.err


def test_what_was_asked_for_by_name_and_cannot_be_tried_fails_the_command(here, recorded):
    code, done = here("-p", "static-9,online")
    assert code == 1
    assert "'static-9' was left out: it plans 9 tokens" in done.err
    assert "record with --longest 9" in done.err
    assert "online" in done.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--order", "sorted"), "--order takes some of recorded, shuffled, by-kind, switching; found sorted"),
        (("--start", "hot"), "--start takes some of warm, cold; found hot"),
        (("-p", "nobody"), "nobody"),
        (("-p", "aimd,aimd"), "each policy can be tried once"),
        (("--draws", "3"), "leave out --draws"),
        (("-p", ""), "--policies names no policy; leave it out"),
        (("-p", "online:memory"), "'memory' should be option=value, as in online:window=20"),
        (("nothing.jsonl",), "make one with `paceline record`"),
    ],
)
def test_wrong_options_are_told(here, recorded, arguments, message):
    code, done = here(*arguments)
    assert code == (1 if arguments[0] == "--draws" else 2)
    assert message in done.err


def test_another_recording_does_not_take_the_place_of_passes_silently(here, made, recorded):
    command = ("-p", "aimd", "--seeds", 1)
    assert here(*command)[0] == 0
    shutil.copy(made / "two.jsonl.zst", recorded)
    code, done = here(*command)
    assert code == 2
    assert "holds results of another recording; replace it with --force" in done.err
    assert here(*command, "--force")[0] == 0


POLICY = """\
from typing import Literal

from paceline import BasePolicy, Plan, PolicyConfig, PolicyState, hookimpl
from paceline_edited.helper import GAMMA


class Edited(BasePolicy[PolicyState]):
    def plan(self, start):
        return Plan(min(GAMMA, start.budget))


class EditedConfig(PolicyConfig):
    name: Literal["edited"] = "edited"

    def build(self, seed):
        return Edited(self.name, PolicyState())


@hookimpl
def register_policies():
    return [EditedConfig]
"""


@pytest.mark.parametrize("edited", ["__init__.py", "helper.py"])
def test_a_policy_whose_code_was_edited_is_played_again_and_only_that(cli, recorded, edited):
    package = cli.folder / "site" / "paceline_edited"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(POLICY)
    (package / "helper.py").write_text("GAMMA = 1\n")
    about = cli.folder / "site" / "paceline_edited-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: paceline-edited\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[paceline]\nedited = paceline_edited\n")

    def replayed():
        command = ["replay", "-p", "edited,aimd", "--order", "recorded", "--seeds", "1", "-j", "1", "--json"]
        done = subprocess.run(
            [sys.executable, "-m", "paceline.cli", *command], cwd=cli.folder, check=True, capture_output=True,
            text=True, env=cli.environment() | {"PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
        rows = {row["label"]: row for row in json.loads(done.stdout)["tables"][0]["rows"]}
        return rows["edited"]["accepted_tokens"], rows["aimd"], done.stderr

    slow, other, _ = replayed()
    assert "6 of 6 passes" in replayed()[2]
    file = package / edited
    file.write_text(file.read_text().replace("GAMMA = 1", "GAMMA = 3").replace("min(GAMMA", "min(GAMMA + 2"))
    fast, same, said = replayed()
    assert fast > slow
    assert same == other
    assert "4 of 6 passes were in" in said
    assert "played again, for their code is not that of runs/replay.jsonl: edited\n" in said


def test_passes_of_code_that_is_not_known_are_played_again(here, recorded):
    command = ("-p", "aimd", "--seeds", 1, "--order", "recorded")
    assert here(*command)[0] == 0
    results = Results.read("runs/replay.jsonl")
    results.code.clear()  # as an older paceline wrote it
    results.write("runs/replay.jsonl")
    code, said = here(*command)
    assert code == 0
    assert "is not that of runs/replay.jsonl: static-0, aimd\n" in said.err
    assert Results.read("runs/replay.jsonl").code.keys() == {"static-0", "aimd"}
    assert "4 of 4 passes were in" in here(*command)[1].err


def test_an_interrupted_replay_goes_on_from_the_last_pass(cli, here, recorded):
    out = cli.folder / "runs" / "replay.jsonl"
    running = cli.start("replay", "--seeds", 40, "--jobs", 2)
    for _ in range(600):
        # Several processes end their passes in any order: the one that the second command needs must be there.
        passes = out.read_bytes().split(b'{"kind":"pass"')[1:] if out.exists() else []
        if len(passes) > 3 and any(b'"static-1"' in each for each in passes[:-1]):
            break
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, told = running.communicate(timeout=30)
    assert running.returncode == 130
    assert "the same command goes on from the last pass" in told
    partial = Results.read(out)
    assert not partial.complete
    assert partial.passes
    with out.open("ab") as file:
        file.write(b'{"kind":"pass","lab')
    kept = out.read_bytes().count(b'"kind":"pass"') - 1
    code, done = here("-p", "static-1", "--seeds", 1)
    assert code == 0
    assert "passes were in" in done.err
    assert Results.read(out).complete
    assert out.read_bytes().count(b'"kind":"pass"') >= kept


def test_the_decisions_of_a_serving_trace_are_checked(here, run_here, toy, capsys):
    assert (
        run_here("generate", "-c", toy, "--set", "policy.name=static", "--trace", "trace.jsonl", "hello") == 0
    )
    capsys.readouterr()
    code, done = here("trace.jsonl", "-p", "static-0,svip")
    assert code == 0
    assert "decisions of 1 requests were taken again" in done.out
    assert "static-0: " in done.out
    assert "'svip' was left out: it looks at signals" in done.err
    found = json.loads(here("trace.jsonl", "--json")[1].out)
    assert (found["requests"], found["differing"]) == (1, 0)
    trace = Path("trace.jsonl")
    trace.write_text(trace.read_text().replace('"gamma":4', '"gamma":2', 1))  # in the header
    code, done = here("trace.jsonl")
    assert code == 1
    assert "decisions were taken otherwise; the first ones:" in done.out


def test_what_a_replay_wrote_is_no_recording(here, recorded):
    assert here("-p", "static-1", "--seeds", 1)[0] == 0
    code, done = here("runs/replay.jsonl", "-o", "other.jsonl")
    assert code == 1
    assert "this is what a replay found, which `paceline report` shows; give a recording" in done.err


def test_texts_at_once_need_times_of_shared_passes(here, recorded):
    code, written = here(recorded, "-p", "static-1", "--batch", 3)
    assert code == 1
    assert "times of passes of one at once, and not of 3" in written.err
    code, written = here(recorded, "-p", "static-1", "--batch", 3, "--start", "cold")
    assert code == 2
    assert "start them warm" in written.err
