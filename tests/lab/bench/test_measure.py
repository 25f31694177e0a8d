"""Blocks of runs with modes that fail, differ, or are interrupted."""

from dataclasses import dataclass, field

import pytest

from paceline.cli.bench_tables import notes, tables
from paceline.lab.bench.measure import WARM_UP_TOKENS, Measurement
from paceline.lab.bench.modes import Outcome, ReferenceMode
from paceline.lab.bench.records import Prompt
from paceline.lab.bench.summary import summarise

PROMPTS = [Prompt("p", "code", (1,)), Prompt("q", "prose", (2,)), Prompt("r", "prose", (3,))]


@dataclass
class Fake:
    """Writes the prompt's last token and counts up; what it is told to do wrong, it does at one call."""

    name: str
    seconds: float = 1.0
    wrong_on: int | None = None
    fails_at: int | None = None
    error: type[BaseException] = RuntimeError
    calls: list[tuple[tuple[int, ...], int]] = field(default_factory=list)

    def run(self, prompt, max_new_tokens):
        self.calls.append((tuple(prompt), max_new_tokens))
        if len(self.calls) == self.fails_at:
            raise self.error("on purpose")
        tokens = [prompt[-1] + i for i in range(max_new_tokens)]
        if self.wrong_on in prompt:
            tokens[2] = 99
        return Outcome(self.seconds, tuple(tokens))


def measurement(*modes, repeats=2, **options):
    return Measurement({mode.name: mode for mode in modes}, PROMPTS, 5, repeats, **options)


def test_every_mode_meets_every_prompt_once_in_each_pass():
    plain, fast = Fake("plain"), Fake("fast", 0.5)
    runs = [run for block in measurement(plain, fast).blocks() for run in block]

    for mode in (plain, fast):
        assert [(prompt.tokens, 5) for prompt in PROMPTS] * 2 == mode.calls
    assert {(r, p.name, m) for r in range(2) for p in PROMPTS for m in ("plain", "fast")} == {
        (run.repeat, run.prompt, run.mode) for run in runs
    }
    assert summarise(runs, ["plain", "fast"]).summaries[1].speedup.value == pytest.approx(2.0)


def test_a_mode_that_differs_is_reported_with_prompt_and_position():
    wrong = measurement(Fake("plain"), Fake("wrong", wrong_on=2), repeats=1)
    runs = [run for block in wrong.blocks() for run in block]

    result = summarise(runs, ["plain", "wrong"])

    assert [(m.mode, m.prompt, m.position, m.expected, m.found) for m in result.different] == [
        ("wrong", "q", 2, 4, 99)
    ]
    assert any(
        "wrong differs from plain on q" in note and "expected 4, found 99" in note for note in notes(result)
    )


def test_a_mode_that_fails_is_left_out_and_the_others_go_on():
    bad, good = Fake("bad", fails_at=2), Fake("good")
    under_way = measurement(Fake("plain"), bad, good)
    runs = [run for block in under_way.blocks() for run in block]

    assert under_way.failed == {"bad": "RuntimeError: on purpose"}
    assert len(bad.calls) == 2
    assert len(good.calls) == 6
    assert sum(run.mode == "good" for run in runs) == 6


def test_plain_decoding_may_not_fail():
    with pytest.raises(RuntimeError, match="on purpose"):
        list(measurement(Fake("plain", fails_at=1)).blocks())


def test_a_block_that_is_interrupted_is_lost_whole():
    under_way = measurement(Fake("plain"), Fake("slow", fails_at=3, error=KeyboardInterrupt))
    blocks = under_way.blocks()
    runs = next(blocks) + next(blocks)
    with pytest.raises(KeyboardInterrupt):
        next(blocks)

    assert sorted(run.mode for run in runs) == ["plain", "plain", "slow", "slow"]


def test_the_warm_up_is_short_and_leaves_no_run():
    plain = Fake("plain")
    warm = Measurement({"plain": plain}, PROMPTS, 500)
    warm.warm_up()

    assert plain.calls == [(PROMPTS[0].tokens, WARM_UP_TOKENS)]


def test_a_way_of_the_library_gets_the_prompt_as_a_list_of_its_own():
    prompt = (1, 2)
    outcome = ReferenceMode("ref", lambda tokens, limit: [tokens.append(7) or limit]).run(prompt, 3)

    assert (prompt, outcome.tokens, outcome.counts) == ((1, 2), (3,), None)
    assert outcome.seconds >= 0


def test_nothing_finished_is_an_empty_table():
    assert summarise([], ["plain"]).summaries == ()
    assert list(tables(summarise([], ["plain"])))
