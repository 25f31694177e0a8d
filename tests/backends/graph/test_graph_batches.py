"""One pass over the tokens of several caches gives each the logits that it gets alone."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.backends.graph.engine import BLOCK, GraphEngine, blocks_of
from paceline.core.errors import BackendError

from ..tiny_models import VOCABULARY, tiny_model
from .pairs import FAMILIES, int8_products, model_of, pair

torch.set_num_threads(1)

TEXTS = [[(3 + 5 * row + 7 * i * i) % VOCABULARY for i in range(60)] for row in range(5)]
READ = st.tuples(st.integers(0, 20), st.integers(1, 20), st.integers(1, 20))
"""Tokens read before, tokens of the pass, and logits asked for, at most so many as tokens."""


def open_caches(engine, reads):
    caches = []
    for text, (before, _, _) in zip(TEXTS, reads, strict=False):
        caches.append(engine.new_cache())
        if before:
            engine.feed(caches[-1], text[:before])
    return caches


def together(engine, reads):
    """Return the logits of each cache from one pass, and the caches."""
    caches = open_caches(engine, reads)
    tokens = [
        token for text, (at, count, _) in zip(TEXTS, reads, strict=False) for token in text[at : at + count]
    ]
    counts, rows = [count for _, count, _ in reads], [min(asked, count) for _, count, asked in reads]
    return engine.feed_batch(caches, tokens, counts, rows).split(rows), caches


def alone(engine, reads):
    """Return the same from a pass for each."""
    caches = open_caches(engine, reads)
    logits = [
        engine.feed(cache, text[at : at + count], min(asked, count))
        for cache, text, (at, count, asked) in zip(caches, TEXTS, reads, strict=False)
    ]
    return logits, caches


def contents(caches):
    return [layer[:, :, : cache.filled] for cache in caches for layer in cache.layers]


@settings(deadline=None, max_examples=60)
@given(family=st.sampled_from(FAMILIES), reads=st.lists(READ, min_size=1, max_size=5))
def test_a_pass_over_several_caches_gives_each_what_it_gets_alone(family, reads):
    engine = pair(family)[0].engine
    (joined, caches), (single, others) = together(engine, reads), alone(engine, reads)
    for left, right in zip([*joined, *contents(caches)], [*single, *contents(others)], strict=True):
        assert torch.allclose(left, right, rtol=0, atol=1e-10)
    for cache in [*caches, *others]:
        engine.free(cache)


@settings(deadline=None, max_examples=30)
@given(
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    reads=st.lists(READ, min_size=2, max_size=5),
)
def test_a_deterministic_engine_keeps_its_promise_whoever_shares_the_pass(dtype, reads):
    engine = pair("llama", dtype, deterministic=True)[0].engine
    (joined, caches), (single, others) = together(engine, reads), alone(engine, reads)
    for left, right in zip([*joined, *contents(caches)], [*single, *contents(others)], strict=True):
        assert torch.equal(left, right)
    for cache in [*caches, *others]:
        engine.free(cache)


@given(reads=st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), min_size=1, max_size=9))
def test_blocks_read_every_token_once_and_answer_what_was_asked(reads):
    counts, rows = [count for count, _ in reads], [min(pair) for pair in reads]
    blocks = [*blocks_of(counts, rows)]
    parts = [part for block in blocks for part in block]
    assert [place for part in parts for place in range(part.begin, part.begin + part.tokens)] == [
        *range(sum(counts))
    ]
    assert all(sum(part.tokens for part in block) <= BLOCK for block in blocks)
    assert all(len({part.cache for part in block}) == len(block) for block in blocks)
    for cache, asked in enumerate(rows):
        assert sum(part.rows for part in parts if part.cache == cache) == asked


@pytest.mark.parametrize("place", [0, 1])
def test_a_pass_that_fails_half_way_leaves_every_cache_as_it_was(place, monkeypatch):
    engine = GraphEngine(tiny_model("llama"))
    reads = [(3, 2, 2), (9, 1, 1)]
    expected, _ = together(engine, reads)
    caches = open_caches(engine, reads)

    def fail(rows, base):
        raise RuntimeError("out of luck")

    layers = list(engine.products.layers)
    layers[place] = replace(layers[place], feed_forward=fail)
    monkeypatch.setattr(engine.forward, "_products", replace(engine.products, layers=tuple(layers)))
    tokens = [*TEXTS[0][3:5], TEXTS[1][9]]
    with pytest.raises(RuntimeError, match="out of luck"):
        engine.feed_batch(caches, tokens, [2, 1], [2, 1])
    monkeypatch.undo()
    assert [cache.filled for cache in caches] == [3, 9]
    again = engine.feed_batch(caches, tokens, [2, 1], [2, 1]).split([2, 1])
    assert all(map(torch.equal, again, expected))


def test_a_cache_without_room_is_refused_before_any_is_written_to():
    engine = GraphEngine(model_of("llama"), name="small", max_context=16)
    caches = open_caches(engine, [(5, 1, 1), (5, 1, 1)])
    with pytest.raises(BackendError, match="cache of small has room for 48 tokens; 5 are there and 44 more"):
        engine.feed_batch(caches, [0] * 45, [1, 44], [1, 1])
    assert [cache.filled for cache in caches] == [5, 5]


@int8_products
def test_matrices_in_int8_give_each_row_what_it_gets_alone():
    engine = GraphEngine(model_of("llama", torch.float32), dtype=torch.int8)
    reads = [(3, 2, 2), (9, 1, 1), (0, 7, 3)]
    (joined, _), (single, _) = together(engine, reads), alone(engine, reads)
    for left, right in zip(joined, single, strict=True):
        assert torch.allclose(left, right, rtol=0, atol=1e-4)
