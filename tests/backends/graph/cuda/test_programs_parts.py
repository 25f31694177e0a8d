"""The parts that programs are made of."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.backends.graph.cuda.engine import BlockEngine, check_tiers, next_up, spans
from paceline.backends.graph.cuda.forward import BlockCache, _norm, attend, forward, mask
from paceline.backends.graph.cuda.runner import EagerRunner
from paceline.backends.graph.cuda.session import PairTracker
from paceline.backends.graph.layers import rms_norm
from paceline.core.errors import BackendError

from .programs import CONTEXT, model_of

torch.set_num_threads(1)

CPU = torch.device("cpu")


@pytest.mark.parametrize("tiers", [(0,), (1, 2), (0, 2, 2), (0, 4, 3)])
def test_tiers_that_make_no_sense_are_refused(tiers):
    with pytest.raises(BackendError, match="ascending gammas from 0"):
        check_tiers(tiers)


@given(room=st.integers(1, 300), block=st.sampled_from([1, 16, 256]))
def test_spans_are_whole_blocks_and_end_with_all_there_is(room, block):
    whole = room * block
    found = spans(whole, block)
    assert found[-1] == whole
    assert list(found) == sorted(set(found))
    assert all(span % block == 0 for span in found)
    assert next_up(found, whole - 1) == whole


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**16), tokens=st.integers(1, 5), start=st.integers(0, 30))
def test_attention_in_blocks_is_plain_attention(seed, tokens, start):
    shape = BlockEngine(model_of("llama"), EagerRunner(CPU), max_context=CONTEXT, block=16).network.shape
    chance = torch.Generator().manual_seed(seed)
    cache = BlockCache(shape, 40, torch.zeros(0, dtype=torch.float64), block=16)
    for layer in cache.layers:
        layer.normal_(generator=chance)
    queries = torch.randn(tokens, shape.heads, shape.head_dim, generator=chance, dtype=torch.float64)
    positions = torch.arange(start, start + tokens)
    found = attend(queries, cache.layers[0], mask(cache, shape, positions, cache.room))

    keys, values = (
        kind.transpose(0, 1).reshape(shape.kv_heads, -1, shape.head_dim).repeat_interleave(shape.groups, 0)
        for kind in cache.layers[0]
    )
    seen = torch.arange(cache.room) <= positions[:, None]
    wanted = torch.nn.functional.scaled_dot_product_attention(
        queries.transpose(0, 1)[None], keys[None], values[None], attn_mask=seen
    )
    assert torch.allclose(found, wanted[0].transpose(0, 1).flatten(1))


def test_keys_go_where_attention_looks_for_them():
    shape = BlockEngine(model_of("llama"), EagerRunner(CPU), max_context=CONTEXT, block=16).network.shape
    cache = BlockCache(shape, 40, torch.zeros(0, dtype=torch.float64), block=16)
    positions = torch.tensor([0, 15, 16, 40])
    rows = cache.rows(positions).view(-1, shape.kv_heads)
    layer = torch.arange(cache.room * shape.kv_heads).view(-1, shape.kv_heads, 16)
    for position, row in zip(positions.tolist(), rows.tolist(), strict=True):
        assert row == layer[position // 16, :, position % 16].tolist()


def test_short_floats_are_normalised_to_within_a_rounding():
    values, scales = torch.randn(3, 64).bfloat16(), torch.rand(64).bfloat16()
    plain = rms_norm(values, scales, 1e-6).float()
    assert torch.allclose(_norm(values, scales, 1e-6).float(), plain, rtol=2**-7)


def test_in_bfloat16_logits_are_near_those_of_transformers():
    model = model_of("qwen3", torch.bfloat16)
    engine = BlockEngine(model, EagerRunner(CPU), max_context=CONTEXT, block=16)
    ids = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])
    with torch.inference_mode():
        wanted = model(ids).logits[0].float()
        found = engine.network.head(
            forward(engine.network, engine.blocks(), ids[0], torch.arange(8), 32)
        ).float()
    assert float((found - wanted).abs().max()) < 0.05 * float(wanted.abs().max())


@given(
    prompt=st.lists(st.integers(0, 3), min_size=1, max_size=4),
    rounds=st.lists(
        st.tuples(st.integers(0, 4), st.lists(st.integers(0, 3), min_size=1, max_size=4), st.booleans()),
        max_size=6,
    ),
)
def test_the_tracker_knows_the_last_two_tokens_and_never_counts_what_is_not_there(prompt, rounds):
    tracker, text, cache = PairTracker(prompt), list(prompt), []
    for ahead, emitted, told in rounds:
        if ahead:
            count = len(tracker.tail) - 1
            cache[tracker.cached :] = tracker.tail[:count]
            tracker.read(count)
            guess = [(token + ahead) % 4 for token in range(ahead)]
            cache[tracker.cached :] = [text[-1], *guess[:-1]]
            tracker.run_ahead(ahead - 1)
            if told:
                tracker.learn(guess)
        text += emitted
        tracker.settle(emitted)
        assert tracker.pair == (text[-2] if len(text) > 1 else text[-1], text[-1])
        assert tracker.context == len(text)
        assert tracker.cached < len(text)
        assert cache[: tracker.cached] == text[: tracker.cached]
