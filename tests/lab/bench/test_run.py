"""Blocks of runs with modes that fail, differ, or are interrupted."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.core.generation import Totals
from paceline.lab.bench.choices import Choice
from paceline.lab.bench.run import WARM_UP_TOKENS, Bench, ReferenceMode, Timed, blocks, first_difference
from paceline.lab.bench.summary import summarise
from paceline.lab.workloads.prompts import Prompt

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
        return Timed(self.seconds, tuple(tokens), Totals(emitted=len(tokens), seconds=self.seconds))


def a_bench(*modes, repeats=2, **options):
    return Bench({mode.name: mode for mode in modes}, PROMPTS, 5, repeats, **options)


def run(*modes, **options):
    bench = a_bench(*modes, **options)
    list(bench.run())
    return bench


def test_every_mode_meets_every_prompt_once_in_each_pass():
    plain, fast = Fake("plain"), Fake("fast", 0.5)
    bench = run(plain, fast)

    for mode in (plain, fast):
        assert [(prompt.tokens, 5) for prompt in PROMPTS] * 2 == mode.calls
    assert {(r, p.name, m) for r in range(2) for p in PROMPTS for m in ("plain", "fast")} == {
        (one.repeat, one.text, one.policy) for one in bench.results
    }
    assert {one.clock for one in bench.results} == {"wall"}
    assert summarise(bench, Choice()).rows[1].all.speedup.value == pytest.approx(2.0)


def test_a_mode_that_differs_is_reported_with_prompt_and_position():
    bench = run(Fake("plain"), Fake("wrong", wrong_on=2), repeats=1)
    summary = summarise(bench, Choice())

    assert [(m.mode, m.prompt, m.position, m.expected, m.actual) for m in summary.different] == [
        ("wrong", "q", 2, 4, 99)
    ]
    assert [summary.differing(mode) for mode in ("plain", "wrong")] == [0, 1]
    assert summarise(bench, Choice(), compared=False).different == []
    assert summarise(bench, Choice(), compared=False).differing("wrong") is None


def test_a_target_that_does_not_repeat_itself_is_told():
    class Fickle(Fake):
        def run(self, prompt, max_new_tokens):
            timed = super().run(prompt, max_new_tokens)
            return timed._replace(tokens=timed.tokens[: 5 - len(self.calls) // 4])

    assert {(one.mode, one.repeat) for one in run(Fickle("plain")).differences} == {("plain", 1)}


def test_a_mode_that_fails_is_left_out_and_the_others_go_on():
    bad, good = Fake("bad", fails_at=2), Fake("good")
    bench = run(Fake("plain"), bad, good)

    assert bench.failed == {"bad": "RuntimeError: on purpose"}
    assert len(bad.calls) == 2
    assert len(good.calls) == 6
    assert len(bench.results.where(policy="good")) == 6
    assert [row.policy for row in summarise(bench, Choice()).rows] == ["plain", "good"]


def test_plain_decoding_may_not_fail():
    with pytest.raises(RuntimeError, match="on purpose"):
        run(Fake("plain", fails_at=1))


def test_a_block_that_is_interrupted_is_lost_whole():
    bench = a_bench(Fake("plain"), Fake("slow", fails_at=3, error=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        list(bench.run())

    assert sorted(one.policy for one in bench.results) == ["plain", "plain", "slow", "slow"]


def test_the_warm_up_is_short_and_leaves_no_run():
    plain = Fake("plain")
    warm = Bench({"plain": plain}, PROMPTS, 500)
    warm.warm_up()

    assert plain.calls == [(PROMPTS[0].tokens, WARM_UP_TOKENS)]


def test_a_way_of_the_library_gets_the_prompt_as_a_list_of_its_own():
    prompt = (1, 2)
    timed = ReferenceMode("ref", lambda tokens, limit: [tokens.append(7) or limit]).run(prompt, 3)

    assert (prompt, timed.tokens, timed.totals.emitted, timed.totals.rounds) == ((1, 2), (3,), 1, 0)
    assert timed.seconds >= 0


@settings(deadline=None)
@given(tokens=st.lists(st.integers(0, 3), max_size=9), other=st.lists(st.integers(0, 3), max_size=9))
def test_the_first_difference_is_where_the_outputs_part(tokens, other):
    found = first_difference(tokens, other)

    assert (found is None) == (tokens == other)
    if found is not None:
        assert tokens[: found[0]] == other[: found[0]]


def test_every_block_holds_every_mode_once_in_an_order_that_the_seed_repeats():
    one = list(blocks(["a", "b", "c"], ["p", "q"], repeats=3, seed=5))

    assert one == list(blocks(["a", "b", "c"], ["p", "q"], repeats=3, seed=5))
    assert all(sorted(block.order) == ["a", "b", "c"] for block in one)
    assert [(r, p) for r in range(3) for p in ("p", "q")] == [(block.repeat, block.prompt) for block in one]
    assert len({block.order for block in one}) > 1


def test_the_order_on_a_prompt_does_not_depend_on_the_other_prompts():
    few = {block.prompt: block.order for block in blocks("abcd", ["q"], repeats=1, seed=1)}
    many = {block.prompt: block.order for block in blocks("abcd", ["p", "q", "r"], repeats=1, seed=1)}

    assert few["q"] == many["q"]
