"""Behaviour that only a GPU can show: that captured programs do what called ones do. `make test-gpu` runs these."""

import math
import threading

import pytest
import torch

from paceline.core.decoder import SpeculativeDecoder
from paceline.core.records import Plan, StopRule
from paceline.core.sampling import Sampling
from paceline.core.testing.doubles import ChaoticPolicy, ScriptedPolicy
from paceline.testing import check_backend

from ...generated import generated
from ...tiny_models import noisy_copy, tiny_model
from .programs import made, model_of

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

PROMPT = (3, 1, 4)
GAMMAS = [3, 0, 16, 0, 0, 0, 5, 1, Plan(8, stop=StopRule("top1", below=0.3)), 2]


def moved(model):
    """Return the model on the GPU."""
    return noisy_copy(model, noise=0.0).to("cuda")


def captured(family="llama", dtype=torch.float64, *, warm=True, vocabulary=None, **options):
    """Return a pair whose programs are captured, and the target's model of transformers."""
    from paceline.backends.graph.cuda.runner import CudaGraphRunner

    changes = {} if vocabulary is None else {"vocab_size": vocabulary}
    model = tiny_model(family, dtype=dtype, **changes) if changes else model_of(family, dtype)
    near = noisy_copy(model, noise=0.02 if vocabulary is None else 0.15).to("cuda")
    runner = CudaGraphRunner(torch.device("cuda", 0))
    target_model = moved(model)
    target, drafts = made(target_model, {"near": near}, runner=runner, warm=warm, **options)
    target.model = target_model  # what `plainly` compares with
    return target, drafts


def plainly(target, prompt, count):
    return generated(target.model, prompt, count)


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
def test_captured_programs_write_what_generate_writes(family):
    target, drafts = captured(family)
    for seed in range(8):
        policy = ChaoticPolicy(seed, ["near"], signals=frozenset({"top1"} if seed % 2 else ()))
        decoder = SpeculativeDecoder(target, drafts, policy, eos=frozenset())
        found = decoder.generate([seed, 1, 4], max_new_tokens=60)
        assert found.tokens == plainly(target, [seed, 1, 4], 60)


def test_the_kit_finds_nothing_on_a_gpu():
    target, drafts = captured()
    check_backend(lambda: target, lambda _: drafts["near"], logits=lambda session: session.logits().tolist())


def test_after_warm_up_nothing_is_captured_and_one_copy_is_made_a_round():
    target, drafts = captured()
    runner = target.engine.runner
    decoder = SpeculativeDecoder(target, drafts, ScriptedPolicy(GAMMAS), eos=frozenset())
    before, found = (runner.reads, runner.builds), set()
    for _ in decoder.rounds(PROMPT, max_new_tokens=70):
        found.add((runner.reads - before[0], runner.builds - before[1]))
        before = runner.reads, runner.builds
    assert found == {(1, 0)}


def test_no_memory_is_allocated_over_a_thousand_rounds():
    target, drafts = captured()
    decoder = SpeculativeDecoder(target, drafts, ScriptedPolicy(GAMMAS), eos=frozenset())
    rounds, sizes = 0, []
    while rounds < 1000:
        rounds += decoder.generate(PROMPT, max_new_tokens=70).totals.rounds
        torch.cuda.synchronize()
        sizes.append((torch.cuda.memory_allocated(), torch.cuda.memory_reserved()))
    assert len(set(sizes[1:])) == 1


def test_a_program_captured_in_the_middle_of_a_text_changes_nothing():
    sampling = Sampling(temperature=0.8, seed=7)
    texts = []
    for warm in (True, False):
        target, drafts = captured(warm=False)
        if warm:
            for one in (target, *drafts.values()):
                one.warm("drawn")
        decoder = SpeculativeDecoder(
            target, drafts, ScriptedPolicy(GAMMAS), sampling=sampling, eos=frozenset()
        )
        texts.append(decoder.generate(PROMPT, max_new_tokens=60).tokens)
    assert texts[0] == texts[1]


def test_a_replay_draws_anew():
    target, _ = captured()
    session = target.open_sampled(PROMPT, Sampling(temperature=5.0, seed=1))
    drawn = set()
    for _ in range(20):
        drawn.add(session.verify(None).tokens)
        session.advance(())
    assert len(drawn) > 5


def test_captured_draws_are_distributed_as_the_targets():
    total = 1000
    target, drafts = captured(vocabulary=5)
    decoder = SpeculativeDecoder(target, drafts, ScriptedPolicy([1]), eos=frozenset())
    plain = SpeculativeDecoder(target, {}, ScriptedPolicy([0]), eos=frozenset())
    tables = []
    for one in (decoder, plain):
        counts = {}
        for seed in range(total):
            drawn = Sampling(temperature=2.0, top_k=3, seed=seed)
            tokens = one.generate(PROMPT, max_new_tokens=2, sampling=drawn).tokens
            counts[tokens] = counts.get(tokens, 0) + 1
        tables.append(counts)
    texts = tables[0].keys() | tables[1].keys()
    # Two samples of equal size: chi-square of their difference, one freedom less than texts.
    pairs = [tuple(table.get(text, 0) for table in tables) for text in texts]
    found = sum((one - other) ** 2 / (one + other) for one, other in pairs)
    freedom = len(texts) - 1
    assert found < freedom * (1 - 2 / (9 * freedom) + 3.09 * math.sqrt(2 / (9 * freedom))) ** 3


def test_two_threads_on_one_gpu_write_what_each_writes_alone():
    target, drafts = captured(warm=False)
    wanted = {first: plainly(target, (first, 1, 4), 40) for first in (3, 9)}
    found = {}

    def write(first):
        decoder = SpeculativeDecoder(target, drafts, ScriptedPolicy([3, 0, 5]), eos=frozenset())
        found[first] = {decoder.generate([first, 1, 4], max_new_tokens=40).tokens for _ in range(5)}

    threads = [threading.Thread(target=write, args=(first,)) for first in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {first: {text} for first, text in wanted.items()}


def test_the_times_of_a_round_are_told_apart_by_the_device():
    target, drafts = captured()
    decoder = SpeculativeDecoder(target, drafts, ScriptedPolicy([16]), eos=frozenset())
    done = list(decoder.rounds(PROMPT, max_new_tokens=70))[1:-1]
    assert all(one.draft_s > 0 and one.verify_s > 0 for one in done)
    # Sixteen passes of the draft against one of a target of the same size.
    assert sum(one.draft_s for one in done) > 3 * sum(one.verify_s for one in done)


def test_in_bfloat16_texts_differ_only_at_a_near_tie():
    target, drafts = captured("qwen3", torch.bfloat16)
    for seed in range(8):
        decoder = SpeculativeDecoder(target, drafts, ScriptedPolicy(GAMMAS), eos=frozenset())
        found = decoder.generate([seed, 1, 4], max_new_tokens=40).tokens
        wanted = plainly(target, [seed, 1, 4], 40)
        at = next((i for i, (a, b) in enumerate(zip(wanted, found, strict=True)) if a != b), None)
        if at is not None:
            gap = target.gap([seed, 1, 4, *wanted[:at]], wanted[at], found[at])
            assert gap < 0.25, f"token {at} differs at a gap of {gap}"
