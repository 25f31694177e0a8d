"""int8: products of integers are exact, texts are those of plain decoding with the same matrices, to the last bit."""

import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from paceline.backends.graph import GraphConfig, GraphDraft, GraphTarget, int8
from paceline.backends.graph.engine import BLOCK, GraphEngine
from paceline.backends.graph.int8 import QuantisedLinear, quantise
from paceline.backends.graph.weights import Matrix
from paceline.backends.prompt_lookup import PromptLookup
from paceline.backends.transformers.config import HfConfig
from paceline.core.config.load import load_config
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.errors import BackendError
from paceline.core.testing.backends import check_backend

from ..adversary import Adversary, prompts, scripts
from ..tiny_models import noisy_copy, tiny_model
from ..torch.stand_ins import folder_of
from .pairs import FAMILIES, int8_products, model_of
from .test_logits import TEXT, blockwise

torch.set_num_threads(1)

pytestmark = int8_products


@functools.cache
def short(family, stored=torch.float32):
    """A target and drafts whose matrices are int8, made of a model in another number format."""
    options = {"dtype": torch.int8, "deterministic": True}
    model = model_of(family, stored)
    drafts = {
        "near": GraphDraft(noisy_copy(model, noise=0.02), **options),
        "far": GraphDraft(model_of(family, stored, seed=5), **options),
        "lookup": PromptLookup(),
    }
    return GraphTarget(model, **options), drafts


def numbers(seed, *size):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None, max_examples=30)
@given(
    inputs=st.sampled_from([16, 48, 576, 1100, 3072]),
    outputs=st.sampled_from([16, 96, 200]),
    rows=st.integers(1, 20),
    seed=st.integers(0, 99),
)
def test_products_are_those_of_exact_integers(inputs, outputs, rows, seed):
    weight, given_rows, bias = (
        numbers(seed, outputs, inputs),
        5 * numbers(seed + 1, rows, inputs),
        numbers(7, outputs),
    )
    short, matrix = quantise(given_rows), quantise(weight)
    sums = short.integers.numpy().astype(np.int64) @ matrix.integers.numpy().astype(np.int64).T
    exact = sums * (short.scales.double() * matrix.scales.double().t()).numpy()
    base = numbers(seed + 2, rows, outputs)
    plain, biased = QuantisedLinear(Matrix(weight)), QuantisedLinear(Matrix(weight, bias))
    for found, wanted in (
        (plain(given_rows), exact),
        (plain.add(given_rows, base), exact + base.numpy()),
        (biased(given_rows), exact + bias.numpy()),
        (biased.add(given_rows, base), exact + base.numpy() + bias.numpy()),
    ):
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-5, atol=1e-4)


@given(seed=st.integers(0, 99), rows=st.integers(2, 20))
@settings(deadline=None, max_examples=20)
def test_a_row_does_not_depend_on_the_rows_beside_it(seed, rows):
    linear, block = QuantisedLinear(Matrix(numbers(seed, 96, 64))), numbers(seed + 1, rows, 64)
    assert torch.equal(linear(block), torch.cat([linear(row[None]) for row in block]))


def test_numbers_are_rounded_to_the_nearest_of_a_127th_of_the_largest_and_zeros_stay():
    rows = torch.tensor([[127.0, 63.4, -0.6, 0.0], [-12.7, 0.0, 0.1, 6.0], [0.0, 0.0, 0.0, 0.0]])
    short = quantise(rows)
    assert short.integers.tolist() == [[127, 63, -1, 0], [-127, 0, 1, 60], [0, 0, 0, 0]]
    assert torch.allclose(short.scales[:2, 0], torch.tensor([1.0, 0.1]))


@settings(deadline=None, max_examples=30)
@given(
    family=st.sampled_from(FAMILIES),
    stored=st.sampled_from([torch.float32, torch.bfloat16]),
    lengths=st.lists(st.integers(1, 3 * BLOCK), min_size=1, max_size=6),
)
def test_blocks_of_any_length_give_the_same_bits(family, stored, lengths):
    engine = short(family, stored)[0].engine
    assert torch.equal(blockwise(engine, TEXT, lengths), blockwise(engine, TEXT, [1]))


@settings(deadline=None, max_examples=30)
@given(family=st.sampled_from(FAMILIES), prompt=prompts, script=scripts)
def test_every_sequence_of_gammas_gives_the_tokens_of_plain_decoding(family, prompt, script):
    target, drafts = short(family)
    plain, found = (
        SpeculativeDecoder(target, drafts, Adversary(turns), eos=frozenset()).generate(
            prompt, max_new_tokens=24
        )
        for turns in ([(0, "near", None, 9)], script)
    )
    assert plain.tokens == found.tokens


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_passes_the_kit_in_both_roles(family):
    target, drafts = short(family)
    check_backend(
        lambda: target,
        lambda _: drafts["near"],
        logits=lambda session: session.logits().tolist(),
        max_examples=8,
        shrink=False,
    )


def test_logits_are_near_those_of_the_model():
    found = blockwise(GraphEngine(model_of("llama", torch.float32), dtype=torch.int8), TEXT, [5])
    with torch.inference_mode():
        wanted = model_of("llama", torch.float32)(torch.tensor([TEXT])).logits[0]
    assert not torch.equal(found, wanted)
    assert torch.linalg.vector_norm(found - wanted) < 0.1 * torch.linalg.vector_norm(wanted)


def test_matrices_take_a_quarter_of_the_memory():
    options = {"hidden_size": 256, "intermediate_size": 512, "vocab_size": 1024}
    model = tiny_model("llama", dtype=torch.float32, **options)

    def size(dtype):
        products = GraphEngine(model, deterministic=True, dtype=dtype).products
        return sum(torch.ops.mkldnn._nbytes(weight) for weight in products.packed())

    assert size(torch.int8) < 0.3 * size(torch.float32)


def test_the_identity_tells_it_from_the_model_it_was_made_of():
    identities = {
        GraphTarget(model_of("llama", torch.float32), dtype=dtype).identity for dtype in (None, torch.int8)
    }
    assert len(identities) == 2


def test_a_folder_in_any_format_is_run_in_int8(tmp_path):
    block = GraphConfig(model=folder_of(tmp_path, dtype=torch.bfloat16), dtype="int8", device="cpu")
    target = block.build_target()
    draft = block.build_draft(target)
    assert target.open([1, 2, 3]).verify(draft.open([1, 2, 3]).draft(4, None)).accepted == 4
    run = load_config({"target": block.model_dump(), "drafts": {"small": block.model_dump()}})
    assert block.reference_modes(run, target, draft) == {}
    plain = block.model_copy(update={"dtype": "auto"})
    assert list(plain.reference_modes(run.model_copy(update={"target": plain}), plain.build_target(), draft))


def test_it_is_refused_by_name_where_its_products_are_missing_or_wrong(monkeypatch, tmp_path):
    monkeypatch.setattr(int8.QuantisedLinear, "__call__", lambda self, rows: self._product(quantise(rows)))
    with pytest.raises(
        BackendError, match=r"mine cannot run in int8: int8 products are not exact.*`dtype: bfloat16`"
    ):
        GraphTarget(model_of("llama", torch.float32), name="mine", dtype=torch.int8)

    def missing(self, matrix):
        raise AttributeError("no such operator")

    monkeypatch.setattr(int8.QuantisedLinear, "__init__", missing)
    block = GraphConfig(model=folder_of(tmp_path), dtype="int8", device="cpu")
    run = load_config({"target": block.model_dump()})
    (problem,) = block.check_target(run).problems
    assert "has no int8 products (no such operator). Use `dtype: bfloat16`" in problem


def test_transformers_itself_has_no_such_format():
    with pytest.raises(ValidationError, match="dtype"):
        HfConfig(model="some/model", dtype="int8")
