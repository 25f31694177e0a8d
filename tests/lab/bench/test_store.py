"""An interrupted bench goes on where it stopped, if it is the same one."""

import dataclasses
import json

import pytest

from paceline.core.config.load import load_config
from paceline.core.errors import ConfigError, TraceError
from paceline.core.generation import Totals
from paceline.lab.bench.choices import Choice
from paceline.lab.bench.run import Bench, Timed
from paceline.lab.bench.store import bench_file
from paceline.lab.bench.summary import summarise
from paceline.lab.json_lines import seal
from paceline.lab.results import ProcessorUse, Results
from paceline.lab.workloads.prompts import Prompt

PROMPTS = [Prompt(name, "code", (number,)) for number, name in enumerate("pqr")]
CHOICE = Choice(policies={"fast": {"name": "static", "gamma": 2}}, code={"fast": "1"})


class Mode:
    """Takes a second more with each call, and is stopped at one of them."""

    def __init__(self, name, stopped_at=None, wrong_on=None):
        self.name, self.stopped_at, self.wrong_on, self.prompts = name, stopped_at, wrong_on, []

    def run(self, prompt, max_new_tokens):
        self.prompts.append(prompt)
        if len(self.prompts) == self.stopped_at:
            raise KeyboardInterrupt
        tokens = tuple(range(max_new_tokens - (prompt[0] == self.wrong_on)))
        seconds = float(len(self.prompts))
        use = ProcessorUse(seconds / 2, seconds / 4, 1)
        return Timed(seconds, tokens, Totals(rounds=3, emitted=len(tokens), seconds=seconds), use)


def a_bench(*modes, repeats=2):
    results = Results(options={"plain": {"name": "static", "gamma": 0}, **CHOICE.policies})
    return Bench({mode.name: mode for mode in modes}, PROMPTS, 5, repeats, results=results)


def a_file(path, bench, **changes):
    run = load_config({"generation": {"seed": 1}})
    return bench_file(path, bench, dataclasses.replace(CHOICE, **changes), run)


def stopped(path, **options):
    bench = a_bench(Mode("plain"), Mode("fast", stopped_at=5, **options))
    with a_file(path, bench).open(bench) as writer, pytest.raises(KeyboardInterrupt):
        list(bench.run(writer))
    return bench


def finished(path):
    bench = a_bench(Mode("plain"), Mode("fast"))
    with a_file(path, bench).open(bench) as writer:
        list(bench.run(writer))
        writer.end()
    return bench


@pytest.mark.parametrize("cut", [0, 10])
def test_an_interrupted_bench_runs_only_the_prompts_that_are_left(tmp_path, cut):
    path = tmp_path / "runs" / "b.jsonl"
    before = stopped(path, wrong_on=1)
    assert len(before.known) == 4
    if cut:
        path.write_bytes(path.read_bytes()[:-cut])
    plain, fast = Mode("plain"), Mode("fast")
    bench = a_bench(plain, fast)
    with a_file(path, bench).open(bench) as writer:
        left = [block for block in before.known if block not in bench.known]
        assert len(left) == bool(cut)
        list(bench.run(writer))
        writer.end()
    assert len(plain.prompts) == len(fast.prompts) == 2 + bool(cut)
    assert {(m.policy, m.text, m.repeat) for m in bench.results} == {
        (mode, prompt.name, repeat) for mode in ("plain", "fast") for prompt in PROMPTS for repeat in (0, 1)
    }
    assert [(d.mode, d.prompt, d.position) for d in bench.differences] == [("fast", "q", 4)]
    assert set(bench.repetitions) == set("pqr")
    stored = Results.read(path)
    assert stored.complete
    assert sorted(map(repr, stored)) == sorted(map(repr, bench.results))
    assert stored.options["fast"] == CHOICE.policies["fast"]
    rows = {row.policy: row.all.texts for row in summarise(bench, CHOICE).rows}
    assert rows == {"plain": 3, "fast": 3}


def test_a_mode_that_failed_before_the_interruption_stays_left_out(tmp_path):
    class Broken(Mode):
        def run(self, prompt, max_new_tokens):
            raise ValueError("on purpose")

    path = tmp_path / "b.jsonl"
    bench = a_bench(Mode("plain", stopped_at=3), Broken("fast"))
    with a_file(path, bench).open(bench) as writer, pytest.raises(KeyboardInterrupt):
        list(bench.run(writer))
    bench = a_bench(Mode("plain"), fast := Mode("fast"))
    with a_file(path, bench).open(bench) as writer:
        list(bench.run(writer))
    assert bench.failed == {"fast": "ValueError: on purpose"}
    assert fast.prompts == []


def test_a_finished_bench_is_measured_again(tmp_path):
    path = tmp_path / "b.jsonl"
    finished(path)
    assert finished(path).results.passes
    assert len(Results.read(path)) == 12


def test_an_interrupted_bench_of_another_run_is_left_alone_unless_told_otherwise(tmp_path):
    path = tmp_path / "b.jsonl"
    stopped(path)
    content = path.read_bytes()
    bench = a_bench(Mode("plain"), Mode("fast"))
    with pytest.raises(
        ConfigError, match=r"interrupted bench of another run, code differ; .*--force.*--results"
    ):
        a_file(path, bench, code={"fast": "2"}).open(bench)
    assert (path.read_bytes(), bench.known) == (content, set())
    with a_file(path, bench, code={"fast": "2"}).open(bench, force=True):
        assert bench.known == set()
    assert path.read_bytes() != content


def test_what_is_in_the_way_is_told(tmp_path):
    path, bench = tmp_path / "b.jsonl", a_bench(Mode("plain"), Mode("fast"))
    assert a_file(path, bench).obstacle() is None
    stopped(path)
    assert a_file(path, bench).obstacle() is None
    assert "code differ" in a_file(path, bench, code={"fast": "2"}).obstacle()
    finished(path)
    assert a_file(path, bench, code={"fast": "2"}).obstacle() is None
    path.write_text("notes\n")
    assert "no file of results" in a_file(path, bench).obstacle()


def test_a_replay_or_another_file_is_never_replaced_without_being_told_to(tmp_path):
    path = tmp_path / "b.jsonl"
    Results({"sha256": "1"}).write(path)
    bench = a_bench(Mode("plain"), Mode("fast"))
    with pytest.raises(ConfigError, match=r"holds the results of a replay; write to another file"):
        a_file(path, bench).open(bench)
    path.write_text("notes\n")
    with pytest.raises(TraceError, match="no file of results"):
        a_file(path, bench).open(bench)


def test_a_damaged_block_is_told(tmp_path):
    path = tmp_path / "b.jsonl"
    stopped(path)
    lines = path.read_bytes().splitlines(keepends=True)
    values = json.loads(lines[-1])
    assert values["kind"] == "block"
    del values["crc32"], values["repeat"]
    path.write_bytes(b"".join([*lines[:-1], seal(values)]))
    bench = a_bench(Mode("plain"), Mode("fast"))
    with pytest.raises(TraceError, match=r"a block is damaged: KeyError.*--force"):
        a_file(path, bench).open(bench)
