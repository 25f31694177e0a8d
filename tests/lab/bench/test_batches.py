"""A bench of batches decodes every prompt in shared passes, and compares with plain decoding of as many."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.backends.toy import ToyDraft, ToyTarget
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.testing.doubles import ScriptedPolicy
from paceline.lab.bench.batches import batch_bench, in_batches
from paceline.lab.bench.choices import Choice
from paceline.lab.bench.run import BASE, LoopMode, ReferenceMode
from paceline.lab.bench.summary import summarise
from paceline.lab.workloads.prompts import Prompt


def decoder(gamma):
    target = ToyTarget(seed=1)
    drafts = {"small": ToyDraft(target, agreement=0.8)} if gamma else {}
    return SpeculativeDecoder(target, drafts, ScriptedPolicy([gamma]), eos=frozenset())


def prompts_of(count):
    return [Prompt(f"p{number}", "odd" if number % 2 else "even", (number + 1, 7)) for number in range(count)]


@given(count=st.integers(1, 9), rows=st.integers(1, 12))
def test_every_prompt_is_in_a_batch_and_every_batch_is_full(count, rows):
    prompts = prompts_of(count)
    named, batches = in_batches(prompts, rows)
    assert [batches[batch.tokens] for batch in named] == list(batches.values())
    assert {len(batch) for batch in batches.values()} == {rows}
    members = [member for batch in batches.values() for member in batch]
    assert members[:count] == [prompt.tokens for prompt in prompts]
    assert len(members) < count + rows


def test_modes_of_our_loop_are_timed_on_batches_and_give_the_texts_of_plain_decoding():
    choice = Choice(
        {
            BASE: LoopMode(BASE, decoder(0)),
            "fast": LoopMode("fast", decoder(3)),
            "library": ReferenceMode("library", lambda prompt, most: prompt[:most]),
        }
    )
    bench = batch_bench(choice, prompts_of(5), 4, 12, repeats=2, seed=0)
    assert list(bench.modes) == [BASE, "fast"]
    assert len(list(bench.run())) == 2 * 2
    assert bench.differences == []
    assert {one.tokens for one in bench.results} == {4 * 12}
    plain, fast = (next(iter(bench.results.where(policy=mode))) for mode in (BASE, "fast"))
    assert plain.totals.rounds == 48
    assert fast.totals.rounds < 48
    assert plain.kind == "mixed"
    row = summarise(bench, choice).comparison.row("fast")
    assert row.totals.tokens_per_round == pytest.approx(48 / fast.totals.rounds, rel=0.2)
    for one in bench.results:
        # Each text waits for all, so that the seconds of all texts are those of one.
        assert one.totals.seconds + one.totals.prefill_s == pytest.approx(one.seconds, rel=0.05)
