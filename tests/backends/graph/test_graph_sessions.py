"""Sessions stay right over thousands of rounds, when the cache is full, when a pass fails, and side by side."""

import functools
import gc
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from random import Random

import pytest
import torch

from paceline.backends.graph import GraphDraft, GraphTarget
from paceline.backends.graph.cache import KEPT
from paceline.backends.graph.engine import MARGIN
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.errors import BackendError
from paceline.core.proposals import TokenProposal
from paceline.core.testing.backends import check_backend

from ..adversary import Adversary
from ..tiny_models import VOCABULARY, noisy_copy
from .pairs import FAMILIES, model_of, pair, plainly

torch.set_num_threads(1)


def prompt_of(size):
    return [(11 + 7 * index * index) % VOCABULARY for index in range(size)]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_passes_the_kit_in_both_roles(family):
    target, drafts = pair(family)
    check_backend(
        lambda: target,
        lambda _: drafts["near"],
        logits=lambda session: session.logits().tolist(),
        max_examples=8,
        shrink=False,
    )


@functools.cache
def short(dtype, **options):
    """A target whose texts soon reach their end, and a draft for it."""
    model = model_of("llama", dtype)
    return GraphTarget(model, max_context=96, **options), GraphDraft(
        noisy_copy(model, noise=0.02), max_context=96, **options
    )


def play(rounds, dtype, tolerance, **options):
    """Play random rounds, now and then compared with a session that reads the whole text at once."""
    random, (target, draft) = Random(5), short(dtype, **options)
    text, verifier, drafter, compared = [], None, None, 0
    for _ in range(rounds):
        if verifier is None or len(text) > 84:
            for session in (verifier, drafter):
                if session is not None:
                    session.close()
            text = [random.randrange(VOCABULARY) for _ in range(random.randint(1, 40))]
            verifier, drafter = target.open(text), draft.open(text)
        gamma = random.choice((0, 0, 1, 2, 3, 5, 9))
        proposal = drafter.draft(gamma, None) if gamma else None
        verdict = verifier.verify(proposal)
        emitted = list(verdict.tokens)[: random.choice((1, 2, 99, 99))]
        verifier.advance(emitted)
        drafter.advance(emitted)
        text += emitted
        if random.random() < 0.3:
            fresh = target.open(text)
            difference = float((verifier.logits() - fresh.logits()).abs().max())
            assert difference <= tolerance, f"{difference} after {len(text)} tokens"
            fresh.close()
            compared += 1
    assert compared > rounds / 10


def test_two_thousand_random_rounds_end_where_a_fresh_prefill_does():
    play(2000, torch.float64, 1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_deterministic_target_is_where_a_fresh_prefill_is_to_the_last_bit(dtype):
    play(500, dtype, 0.0, deterministic=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "tolerance", "options"),
    [
        # The norms round to float32 on their way, as in transformers: once in some 10^4 texts two roundings part.
        (torch.float64, 1e-5, {}),
        (torch.float32, 1e-3, {}),
        (torch.float32, 0.0, {"deterministic": True}),
        (torch.bfloat16, 0.0, {"deterministic": True}),
    ],
)
def test_a_hundred_thousand_random_rounds_end_where_a_fresh_prefill_does(dtype, tolerance, options):
    play(100_000, dtype, tolerance, **options)


def tensors():
    gc.collect()
    found = [one for one in gc.get_objects() if type(one) is torch.Tensor and one.layout is torch.strided]
    return len(found), sum(one.untyped_storage().nbytes() for one in found)


def test_a_thousand_rounds_allocate_nothing_that_stays():
    target, drafts = pair("llama")
    policy = Adversary(
        [(3, "near", None, 9), (0, "near", None, 9), (5, "far", None, 9), (1, "lookup", None, 9)]
    )
    decoder = SpeculativeDecoder(target, drafts, policy, eos=frozenset())
    decoder.generate([1, 2, 3], max_new_tokens=100)
    rounds, seen, held = 0, [], []
    try:
        for text in range(12):
            for index, _ in enumerate(decoder.rounds([1, 2, 3], max_new_tokens=300)):
                rounds += 1
                if index == 40 and text % 3 == 1:  # in the middle of a text, when all sessions have caches
                    seen.append(tensors())
            # What Python itself keeps (the samples of the cost model) has settled by now.
            if text == 8:
                tracemalloc.start()
            if text > 8:
                gc.collect()
                held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert rounds >= 1000
    assert len(set(seen)) == 1, seen
    assert held[-1] - held[0] < 100_000, held


def test_the_caches_of_closed_sessions_are_used_again():
    target = GraphTarget(model_of("llama"), max_context=64)
    first = target.open([1, 2])
    memory = first.sequence.cache.layers[0].data_ptr()
    first.close()
    first.close()
    second, third = target.open([5, 4, 3]), target.open([1])
    assert second.sequence.cache.layers[0].data_ptr() == memory
    assert third.sequence.cache is not second.sequence.cache
    assert third.sequence.cache.filled == 0
    many = [target.open([1]) for _ in range(3 * KEPT)]
    for session in many:
        session.close()
    assert len(target.engine._pool._free) == KEPT


def test_a_text_ends_at_the_longest_context_and_not_behind_it():
    target, draft = short(torch.float64)
    prompt = tuple(prompt_of(90))
    policy = Adversary([(9, "near", None, 9)])
    drafts = {"near": draft, "far": draft, "lookup": draft}
    found = SpeculativeDecoder(target, drafts, policy, eos=frozenset()).generate(prompt, max_new_tokens=50)
    assert found.tokens == plainly("llama", prompt, 6)
    assert found.ended == "length"
    with pytest.raises(BackendError, match=r"context ends at 96; shorten the prompt"):
        SpeculativeDecoder(target, drafts, policy).generate(prompt_of(96), max_new_tokens=1)


def test_a_draft_with_a_shorter_cache_falls_silent_and_nothing_is_lost():
    target = pair("llama")[0]
    draft = GraphDraft(noisy_copy(model_of("llama"), noise=0.02), max_context=12)
    prompt = tuple(prompt_of(8))
    drafts = {"near": draft, "far": draft, "lookup": draft}
    policy = Adversary([(4, "near", None, 9)])
    found = SpeculativeDecoder(target, drafts, policy, eos=frozenset()).generate(prompt, max_new_tokens=30)
    assert found.tokens == plainly("llama", prompt, 30)
    assert 0 < found.totals.drafted < 10


def test_a_proposal_that_does_not_fit_is_refused_before_anything_is_written():
    target = GraphTarget(model_of("llama"), name="small", max_context=16)
    session = target.open(prompt_of(10))
    wanted = session.logits()
    with pytest.raises(BackendError, match=r"cache of small has room for 48 tokens; 9 are there and 61 more"):
        session.verify(TokenProposal(tuple(prompt_of(60))))
    assert torch.equal(session.logits(), wanted)
    assert len(session.verify(TokenProposal(tuple(prompt_of(16 + MARGIN - 10)))).tokens) >= 1
    with pytest.raises(BackendError, match="prompt has 17 tokens, but small reads at most 16"):
        target.open(prompt_of(17))


@pytest.mark.parametrize("role", ["target", "draft"])
@pytest.mark.parametrize("place", [0, 1])
def test_a_pass_that_fails_half_way_leaves_the_session_as_it_was(role, place, monkeypatch):
    target, drafts = pair("llama")
    session = (target if role == "target" else drafts["near"]).open(prompt_of(7))
    engine = session.sequence.engine
    wanted = session.logits()
    layer = engine.products.layers[place]

    class Broken:
        def __call__(self, rows, base):
            raise RuntimeError("out of luck")

    layers = list(engine.products.layers)
    layers[place] = replace(layer, feed_forward=Broken())
    broken = replace(engine.products, layers=tuple(layers))
    monkeypatch.setattr(engine.forward, "_products", broken)
    with pytest.raises(RuntimeError, match="out of luck"):
        session.verify(TokenProposal((1, 2))) if role == "target" else session.draft(3, None)
    monkeypatch.undo()
    assert torch.equal(session.logits(), wanted)
    session.advance([4])
    again = (target if role == "target" else drafts["near"]).open([*prompt_of(7), 4])
    assert torch.allclose(session.logits(), again.logits(), atol=1e-12)


def test_decoders_in_two_threads_do_not_disturb_each_other():
    target, drafts = pair("qwen3")
    prompts = [tuple(prompt_of(size)) for size in (3, 9, 14, 20)]
    expected = [plainly("qwen3", prompt, 60) for prompt in prompts]

    def decode(number):
        policy = Adversary([(3, "near", None, 9), (1, "far", None, 9), (0, "near", None, 9)])
        decoder = SpeculativeDecoder(target, drafts, policy, eos=frozenset())
        return [decoder.generate(prompts[(number + i) % 4], max_new_tokens=60).tokens for i in range(4)]

    with ThreadPoolExecutor(2) as pool:
        for number, found in enumerate(pool.map(decode, range(4))):
            assert found == [expected[(number + i) % 4] for i in range(4)]
