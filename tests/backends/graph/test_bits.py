"""`deterministic` is promised where it holds, to the last bit, and refused where it does not."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.backends.graph import GraphTarget, forward, products
from paceline.backends.graph.engine import BLOCK, GraphEngine
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.errors import BackendError

from ..adversary import Adversary, prompts, scripts
from ..tiny_models import VOCABULARY, noisy_copy, tiny_model
from .pairs import FAMILIES, model_of, pair
from .test_logits import TEXT, blockwise

torch.set_num_threads(1)

SHORT = st.sampled_from([torch.float32, torch.bfloat16])


@settings(deadline=None, max_examples=40)
@given(
    family=st.sampled_from(FAMILIES),
    dtype=SHORT,
    lengths=st.lists(st.integers(1, 3 * BLOCK), min_size=1, max_size=6),
)
def test_blocks_of_any_length_give_the_same_bits(family, dtype, lengths):
    engine = pair(family, dtype, deterministic=True)[0].engine
    assert torch.equal(blockwise(engine, TEXT, lengths), blockwise(engine, TEXT, [1]))


@settings(deadline=None, max_examples=30)
@given(family=st.sampled_from(FAMILIES), dtype=SHORT, prompt=prompts, script=scripts)
def test_every_sequence_of_gammas_gives_the_tokens_of_plain_decoding(family, dtype, prompt, script):
    target, drafts = pair(family, dtype, deterministic=True)
    plain, found = (
        SpeculativeDecoder(target, drafts, Adversary(turns), eos=frozenset()).generate(
            prompt, max_new_tokens=24
        )
        for turns in ([(0, "near", None, 9)], script)
    )
    assert plain.tokens == found.tokens


def test_without_the_option_the_bits_do_depend_on_the_block():
    engine = pair("llama", torch.float32)[0].engine
    assert not torch.equal(blockwise(engine, TEXT, [9]), blockwise(engine, TEXT, [1]))


def refusal(**changes):
    model = tiny_model("llama", **{"dtype": torch.float32, **changes})
    with pytest.raises(BackendError) as caught:
        GraphEngine(model, name="mine", deterministic=True)
    return str(caught.value)


def test_sums_that_depend_on_the_block_are_found_out(monkeypatch):
    monkeypatch.setattr(forward.Attention, "_attend", rounded(forward.Attention._attend))
    assert "mine cannot be `deterministic` on this processor" in refusal()


def rounded(attend):
    """Return an attention whose last bits depend on what was attended to before, as some kernels' do."""
    calls = iter(range(10**9))

    def wrong(self, queries, seen, mask):
        return attend(self, queries, seen, mask) * (1 + 2**-22 * (next(calls) % 2))

    return wrong


def test_a_block_attended_to_at_once_is_found_out(monkeypatch):
    def at_once(self, queries, cached, filled, mask):
        tokens = len(queries)
        future = torch.full((tokens, filled + tokens), -torch.inf, dtype=queries.dtype).triu_(filled + 1)
        grouped = None if tokens == 1 else future.repeat_interleave(self._groups, dim=0)
        return self._attend(queries, cached[:, :, : filled + tokens], grouped)

    monkeypatch.setattr(forward.Attention, "__call__", at_once)
    assert "gives other bits than single tokens" in refusal(head_dim=64, hidden_size=256)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_number_formats_that_cannot_be_packed_are_refused(dtype):
    message = refusal(dtype=dtype)
    assert f"only float32 and bfloat16 matrices can be packed, found {str(dtype)[6:]}" in message
    assert "Leave `deterministic` out" in message


def test_plain_matrices_cannot_promise_it():
    with pytest.raises(BackendError, match="packing is switched off"):
        GraphEngine(model_of("llama", torch.float32), deterministic=True, packed=False)


@pytest.fixture
def without_packing(monkeypatch):
    def missing(self, matrix):
        raise NotImplementedError("no such operator\nand a page of where it is to be had")

    monkeypatch.setattr(products.PackedLinear, "__init__", missing)


def test_where_nothing_can_be_packed_the_option_is_refused_in_a_sentence(without_packing):
    assert "cannot pack matrices (no such operator). Leave" in refusal()


def test_where_nothing_can_be_packed_plain_matrices_do(without_packing, monkeypatch):
    monkeypatch.setattr(products, "LEAST_BYTES", 0)
    engine = GraphEngine(model_of("llama", torch.float32))
    assert engine.products.rows == 1
    with torch.inference_mode():
        wanted = model_of("llama", torch.float32)(torch.tensor([TEXT])).logits[0]
    assert torch.allclose(blockwise(engine, TEXT, [5]), wanted, atol=1e-4)


def test_packed_matrices_that_multiply_wrongly_are_not_used(monkeypatch):
    monkeypatch.setattr(products.PackedLinear, "times", lambda self, rows, factors: self(rows))
    device = torch.device("cpu")
    assert (
        products.packing_problem(torch.float32, device)
        == "packed matrices give other products than plain ones on this machine"
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_wide_sums_keep_the_promise_as_well(dtype):
    """A single row of more than 1024 inputs is added up in another order, so that none must ever be alone."""
    options = {"intermediate_size": 2100, "hidden_size": 1536, "head_dim": 64, "num_hidden_layers": 1}
    engine = GraphEngine(tiny_model("llama", dtype=dtype, **options), deterministic=True)
    assert torch.equal(blockwise(engine, TEXT[:40], [5, 1, 16, 2]), blockwise(engine, TEXT[:40], [1]))


def test_a_deterministic_model_says_so_in_its_identity():
    names = {pair("llama", torch.float32, **options)[0].identity for options in ({}, {"deterministic": True})}
    assert len(names) == 2
    assert GraphTarget(noisy_copy(model_of("llama"))).vocabulary == VOCABULARY
