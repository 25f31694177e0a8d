"""Rows that share a pass of transformers' own forward say what each says alone, wherever they stand in it."""

from itertools import chain

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.backends.transformers.engine import TransformersEngine
from paceline.backends.transformers.rows_layout import KEYS_A_TOKEN, layouts, least_work
from paceline.core.batch import BatchDecoder
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.testing.doubles import ScriptedPolicy

from ..tiny_models import VOCABULARY, tiny_model
from .pairs import pair, plainly

torch.set_num_threads(1)

FAMILIES = ["llama", "qwen2", "qwen3", "gpt2", "opt", "gpt_neox", "phi3"]
ROWS = st.lists(
    st.tuples(st.integers(0, 80), st.integers(1, 9), st.integers(1, 9), st.integers(0, 6)),
    min_size=2,
    max_size=5,
)


def text(row, count):
    return [(11 + 3 * row + 7 * index * index) % VOCABULARY for index in range(count)]


@settings(deadline=None, max_examples=60)
@given(
    family=st.sampled_from(FAMILIES),
    rows=ROWS,
    then=st.lists(st.integers(1, 4), min_size=5, max_size=5),
    way=st.sampled_from([0, 1]),
)
def test_a_pass_says_of_each_row_what_a_pass_of_its_own_says(family, rows, then, way):
    engine = pair(family)[0].engine
    alone, shared = ([engine.new_cache() for _ in rows] for _ in range(2))
    for caches in (alone, shared):
        for row, (filled, _, _, _) in enumerate(rows):
            if filled:
                engine.feed(caches[row], text(row, filled))
    for counts in ([count for _, count, _, _ in rows], then[: len(rows)]):
        lasts = [min(count, last) for count, (_, _, last, _) in zip(counts, rows, strict=True)]
        blocks = [text(row + 7, count) for row, count in enumerate(counts)]
        expected = torch.cat([*map(engine.feed, alone, blocks, lasts)])
        layout = layouts([cache.get_seq_length() for cache in shared], counts)[way]
        together = engine.feed_laid_out(shared, torch.tensor([*chain(*blocks)]), layout, lasts)
        assert torch.allclose(expected, together, rtol=0, atol=1e-9)
        for left, right, count, (_, _, _, refused) in zip(alone, shared, counts, rows, strict=True):
            assert left.get_seq_length() == right.get_seq_length()
            left.crop(-min(refused, count))
            right.crop(-min(refused, count))


@given(
    rows=st.lists(st.tuples(st.integers(0, 500), st.integers(1, 20)), min_size=2, max_size=6),
    width=st.integers(1, 4096),
)
def test_no_two_rows_share_a_token_or_a_key_and_the_layout_is_the_lesser_work(rows, width):
    filled, counts = zip(*rows, strict=True)
    layout = least_work(filled, counts, width)
    queries = {(place.lane, place.query + at) for place in layout.places for at in range(place.tokens)}
    keys = {
        (place.lane, place.key + at) for place in layout.places for at in range(place.filled + place.tokens)
    }
    assert len(queries) == sum(counts)
    assert len(keys) == sum(filled) + sum(counts)
    assert max(at for _, at in queries) < layout.tokens
    assert max(at for _, at in keys) < layout.keys
    token = KEYS_A_TOKEN * width
    apart = len(rows) * max(counts) * (token + max(map(sum, rows)))
    in_turn = sum(counts) * (token + sum(map(sum, rows)))
    assert layout.work(width) == min(apart, in_turn)


def test_long_rows_stand_apart_and_uneven_ones_behind_each_other():
    assert least_work([500] * 8, [1] * 8, 576).lanes == 8
    assert least_work([100] * 8, [9, *[1] * 7], 576).lanes == 1


def test_a_pass_that_fails_leaves_every_row_as_it_was():
    engine = TransformersEngine(tiny_model("llama"))
    caches = [engine.new_cache() for _ in range(2)]
    for row, cache in enumerate(caches):
        engine.feed(cache, text(row, 3 + row))
    last, given_up = engine.model.model.layers[-1], RuntimeError("out of luck")

    def fail(*_):
        raise given_up

    handle = last.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="out of luck"):
        engine.feed_batch(caches, [1, 2, 3], [2, 1], [1, 1])
    handle.remove()
    assert [layer.get_seq_length() for cache in caches for layer in cache.layers] == [3, 3, 4, 4]
    whole = engine.feed(engine.new_cache(), [*text(1, 4), 3])
    assert torch.allclose(engine.feed_batch(caches, [1, 2, 3], [2, 1], [1, 1])[1:], whole, atol=1e-9)


@pytest.mark.parametrize(
    ("family", "reason"),
    [("mistral", "its cache has layers of the kind"), ("bloom", "takes no positions")],
)
def test_a_model_that_cannot_is_decoded_row_by_row_and_the_line_says_why(family, reason, capsys):
    target, drafts = pair(family)
    assert not target.shares_passes
    batch = BatchDecoder(SpeculativeDecoder(target, {"near": drafts["near"]}, ScriptedPolicy([3])))
    prompts = [text(row, 4 + row) for row in range(3)]
    written = batch.generate(prompts, max_new_tokens=12)
    assert [each.tokens for each in written] == [plainly(family, tuple(each), 12) for each in prompts]
    assert reason in capsys.readouterr().out


def test_a_model_whose_attention_goes_by_places_is_not_given_rows_to_share():
    model = tiny_model("llama")
    attention = model.model.layers[0].self_attn
    given = attention.forward

    def by_place(hidden_states, *arguments, attention_mask=None, **options):
        if attention_mask is not None and attention_mask.is_floating_point():
            rows, columns = attention_mask.shape[-2:]
            future = torch.ones(rows, columns, dtype=torch.bool).triu(columns - rows + 1)
            attention_mask = attention_mask.masked_fill(future, torch.finfo(attention_mask.dtype).min)
        return given(hidden_states, *arguments, attention_mask=attention_mask, **options)

    attention.forward = by_place
    assert "does not say of it alone" in TransformersEngine(model).unshared
