"""A tree read in one pass, or level by level, gives what its chains give one by one; and one of them can be kept."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.backends.graph import GraphTarget, products
from paceline.backends.torch.engine import nodes_of
from paceline.backends.torch.tree_mask import tree_block
from paceline.backends.transformers import HfTarget
from paceline.backends.transformers.host.cache import branching_problem
from paceline.core.errors import BackendError

from .graph import pairs as graph
from .tiny_models import VOCABULARY, tiny_model
from .transformers import pairs as hf

torch.set_num_threads(1)

BRANCHING = {"llama", "qwen2", "qwen3", "gpt2", "opt", "gpt_neox", "phi3"}
ENGINES = [("graph", family) for family in graph.FAMILIES] + [("hf", family) for family in sorted(BRANCHING)]
TOKENS = st.integers(0, VOCABULARY - 1)


def engine_of(kind, family):
    return {"graph": graph, "hf": hf}[kind].pair(family)[0].engine


@st.composite
def trees(draw):
    """Nodes whose parents come first."""
    count = draw(st.integers(1, 9))
    return draw(st.lists(TOKENS, min_size=count, max_size=count)), [
        draw(st.integers(-1, place - 1)) for place in range(count)
    ]


def ancestry(parents, place):
    """Return the numbers of a node's ancestors and itself, the first one first."""
    return [] if place < 0 else [*ancestry(parents, parents[place]), place]


@pytest.mark.parametrize(("kind", "family"), ENGINES)
@settings(deadline=None, max_examples=15)
@given(
    data=st.data(),
    context=st.lists(TOKENS, min_size=1, max_size=9),
    tree=trees(),
    lead=st.integers(0, 3),
    level=st.integers(0, 9),
)
def test_every_node_is_what_the_chain_to_it_is_and_any_branch_can_be_kept(
    kind, family, data, context, tree, lead, level
):
    engine, (tokens, parents) = engine_of(kind, family), tree
    cache, held = engine.new_cache(), max(0, len(context) - lead)
    if held:
        engine.feed(cache, context[:held])
    if level and held == len(context):
        # The first nodes in a pass of their own, as a draft reads them.
        first = min(level, len(tokens))
        parts = [engine.feed_tree(cache, tokens[:first], parents[:first], first)]
        rest = tokens[first:]
        parts += [engine.feed_tree(cache, rest, parents, len(rest))] if rest else []
        logits = torch.cat(parts)
    else:
        logits = engine.feed_tree(cache, [*context[held:], *tokens], parents, len(tokens))
    for place in range(len(tokens)):
        chain = [*context, *(tokens[each] for each in ancestry(parents, place))]
        alone = engine.new_cache()
        torch.testing.assert_close(logits[place], engine.feed(alone, chain)[0], rtol=0, atol=1e-10)
        engine.free(alone)

    path = ancestry(parents, data.draw(st.integers(-1, len(tokens) - 1)))
    path = path[: data.draw(st.integers(0, len(path)))]
    engine.keep_path(cache, len(context), path)
    kept = [*context, *(tokens[each] for each in path)]
    assert cache.get_seq_length() == len(kept)
    alone = engine.new_cache()
    ahead, whole = engine.feed(cache, [5, 7], 2), engine.feed(alone, [*kept, 5, 7], 2)
    torch.testing.assert_close(ahead, whole, rtol=0, atol=1e-10)
    engine.free(alone)
    engine.free(cache)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8])
def test_short_number_formats_read_trees_as_they_read_chains(dtype, monkeypatch):
    monkeypatch.setattr(products, "LEAST_BYTES", 0)
    stored = torch.float32 if dtype == torch.int8 else dtype
    model = tiny_model("llama", dtype=stored, hidden_size=128, head_dim=32, intermediate_size=256)
    engine = GraphTarget(model, dtype=dtype).engine
    cache, parents = engine.new_cache(), (-1, -1, 0, 1, 2)
    engine.feed(cache, [1, 2, 3, 4])
    logits = engine.feed_tree(cache, [5, 6, 7, 8, 9], parents, 5).float()
    for place in range(5):
        chain = [5 + each for each in ancestry(parents, place)]
        alone = engine.feed(engine.new_cache(), [1, 2, 3, 4, *chain])[0].float()
        assert float((logits[place] - alone).abs().max()) <= 1e-2 * float(alone.abs().max())


def test_a_mask_lets_a_node_see_its_ancestors_alone():
    positions, mask = tree_block(2, 4, (-1, -1, 0), torch.empty(0))
    assert positions == [2, 3, 3, 4]
    assert (mask == 0).int().tolist() == [
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 0, 1, 0],
        [1, 1, 1, 1, 0, 1],
    ]
    further = tree_block(5, 1, (-1, -1, 0), torch.empty(0))
    assert further.positions == [4]
    assert torch.equal(further.mask, mask[3:])


@pytest.mark.parametrize("family", sorted(set(hf.FAMILIES) - BRANCHING))
def test_models_that_cannot_read_trees_say_why_and_read_chains(family):
    target = hf.pair(family)[0]
    assert nodes_of(target.engine) == 0
    problem = target.engine.facts.tree_problem
    assert "takes no positions" in problem if family == "bloom" else "DynamicSlidingWindowLayer" in problem


def refusal(model):
    return HfTarget(model).engine.facts.tree_problem


@pytest.mark.parametrize("change", ["deaf to masks", "counting by itself", "refusing masks"])
def test_a_model_that_does_otherwise_with_mask_or_positions_is_found_out(change, monkeypatch):
    model = copy.deepcopy(hf.pair("llama")[0].engine.model)
    forward = type(model).forward

    def changed(self, input_ids=None, attention_mask=None, position_ids=None, logits_to_keep=0, **others):
        if change == "refusing masks" and attention_mask is not None:
            raise ValueError("a mask of shape (rows, tokens) is expected")
        if change == "deaf to masks":
            attention_mask = None
        if change == "counting by itself" and attention_mask is not None:
            position_ids = None
        return forward(
            self,
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            logits_to_keep=logits_to_keep,
            **others,
        )

    monkeypatch.setattr(type(model), "forward", changed)
    assert ("fails: ValueError" if change == "refusing masks" else "two branches") in refusal(model)


def test_attention_that_takes_no_mask_of_ours_is_refused_by_name(monkeypatch):
    model = copy.deepcopy(hf.pair("llama")[0].engine.model)
    monkeypatch.setattr(model.config, "_attn_implementation_internal", "flash_attention_2")
    assert "flash_attention_2, takes no mask" in branching_problem(model, model.config)


def test_a_window_that_no_layer_of_the_cache_shows_is_refused_by_name():
    model = tiny_model("llama")
    model.config.window_size = 256
    assert refusal(model) == "it has a window (`window_size`)"


def test_a_deterministic_target_reads_chains_alone():
    assert nodes_of(graph.pair("llama", torch.float32, deterministic=True)[0].engine) == 0


def test_a_tree_that_does_not_fit_is_refused_before_anything_is_written():
    engine = GraphTarget(graph.model_of("llama"), name="small", max_context=16).engine
    cache = engine.new_cache()
    engine.feed(cache, [1] * 15)
    with pytest.raises(
        BackendError, match=r"cache of small has room for 48 tokens; 15 are there and 40 more"
    ):
        engine.feed_tree(cache, [1] * 40, [-1] * 40)
    assert cache.get_seq_length() == 15
