"""Sums of a bench: figures of our own loop, the best static gamma, texts that go round in circles."""

import pytest

from paceline.core.generation import Totals
from paceline.lab.bench.choices import Choice
from paceline.lab.bench.run import Bench, Timed
from paceline.lab.bench.summary import document, summarise
from paceline.lab.results import ProcessorUse
from paceline.lab.workloads.prompts import Prompt

VARIED = tuple(i * i % 10_007 for i in range(96))
LOOPED = (7,) * 96


class Fixed:
    """Takes so many seconds, whatever it decodes."""

    def __init__(self, name, seconds, **totals):
        self.name, self.seconds, self.totals = name, seconds, totals

    def run(self, prompt, max_new_tokens):
        tokens = LOOPED if prompt[0] == 0 else VARIED
        totals = Totals(emitted=len(tokens), seconds=self.seconds, **self.totals)
        return Timed(self.seconds, tokens, totals)


def ran(*modes, loops=0, prompts=4):
    listed = [Prompt(f"p{n}", "code" if n % 2 else "prose", (int(n >= loops),)) for n in range(prompts)]
    bench = Bench({mode.name: mode for mode in modes}, listed, 96)
    list(bench.run())
    return bench


def test_the_best_static_gamma_in_hindsight_and_what_adapts_against_it():
    bench = ran(Fixed("plain", 4.0), Fixed("static-2", 2.0), Fixed("static-4", 2.5), Fixed("online", 1.6))
    options = {f"static-{gamma}": {"name": "static", "gamma": gamma} for gamma in (2, 4)}
    summary = summarise(bench, Choice(static=list(options), policies=options))

    assert summary.best_static.policy == "static-2"
    assert summary.over("online", "static-2").value == pytest.approx(1.25)
    assert {row.policy: row.all.speedup.value for row in summary.rows} == pytest.approx(
        {"plain": 1.0, "static-2": 2.0, "static-4": 1.6, "online": 2.5}
    )


def test_totals_become_acceptance_gamma_and_overhead_where_our_loop_ran():
    bench = ran(
        Fixed("plain", 1.0, rounds=96),
        Fixed("m", 10.0, rounds=48, drafted=8, accepted=6, gammas={5: 48}, draft_s=2.0, verify_s=7.5),
        Fixed("library", 1.0),
    )
    summary = summarise(bench, Choice(reference="library"))
    values = document(summary, bench, Choice(), config=Config(), settings={}, interrupted=False)
    ours, library = values["modes"][1:]

    assert (ours["acceptance"], ours["tokens_per_round"], ours["gamma"]) == (0.75, 2.0, 5.0)
    assert ours["overhead"] == pytest.approx(0.05)
    assert {library[key] for key in ("acceptance", "tokens_per_round", "gamma", "overhead")} == {None}
    assert ours["over_reference"]["value"] == pytest.approx(0.1)
    assert [run["tokens"] for run in values["runs"]] == [96] * 12


class Config:
    def model_dump(self, mode):
        return {}


def test_texts_that_go_round_in_circles_are_told_apart_and_left_out_where_asked():
    bench = ran(Fixed("plain", 1.0), Fixed("m", 0.5), loops=1)
    summary = summarise(bench, Choice())

    assert {name: one.texts for name, one in summary.rows[1].groups.items()} == {
        "all": 4,
        "varying": 3,
        "looping": 1,
    }
    only = summarise(bench, Choice(), only_varying=True)
    assert only.rows[1].all.texts == 3
    assert only.repetitions["p0"].loops


def test_nothing_finished_has_no_rows():
    summary = summarise(Bench({}, [], 5), Choice())
    assert (summary.rows, summary.best_static, summary.over("a", "b")) == ((), None, None)


class Waiting(Fixed):
    """Waits for a core for most of its time."""

    def __init__(self, name, seconds, *, processor_s, threads=1):
        super().__init__(name, seconds)
        self.use = ProcessorUse(processor_s, 3 * processor_s, threads)

    def run(self, prompt, max_new_tokens):
        return super().run(prompt, max_new_tokens)._replace(processor=self.use)


def test_on_a_shared_machine_figures_are_of_the_processor_where_one_thread_worked():
    bench = ran(Waiting("plain", 4.0, processor_s=1.7), Waiting("m", 1.0, processor_s=1.0))
    summary = summarise(bench, Choice())
    values = document(summary, bench, Choice(), config=Config(), settings={}, interrupted=False)

    assert (summary.clock, summary.shared, summary.waiting) == ("cpu", True, pytest.approx(0.75))
    assert summary.rows[1].all.speedup.value == pytest.approx(1.7)
    assert (values["clock"], values["shared"], values["waiting"]) == ("cpu", True, pytest.approx(0.75))
    assert values["modes"][1]["tokens_per_second"] == pytest.approx(96.0)
    assert values["runs"][0]["seconds"] == 4.0
    assert values["runs"][0]["processor"] == {"seconds": 1.7, "waited_s": pytest.approx(5.1), "threads": 1}


def test_with_more_threads_figures_stay_of_the_wall_clock_and_are_not_to_be_believed():
    bench = ran(Waiting("plain", 4.0, processor_s=1.7), Waiting("m", 1.0, processor_s=1.0, threads=2))
    summary = summarise(bench, Choice())

    assert (summary.clock, summary.shared) == ("wall", True)
    assert summary.rows[1].all.speedup.value == pytest.approx(4.0)


def test_a_quiet_machine_is_measured_by_the_wall_clock():
    bench = ran(Fixed("plain", 4.0), Fixed("m", 1.0))
    bench.stolen = 0.0
    summary = summarise(bench, Choice())

    assert (summary.clock, summary.shared, summary.waiting) == ("wall", False, None)
    bench.stolen = 0.4
    assert summarise(bench, Choice()).shared
