"""Texts that cross the length where a model turns positions otherwise are those that `generate` alone gives."""

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DynamicCache
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

import paceline.hf
from paceline.backends.graph.shape import ROTATIONS
from paceline.backends.transformers import HfDraft, HfTarget
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.errors import BackendError
from paceline.core.records import Plan
from paceline.core.sampling import GREEDY, Sampling
from paceline.core.testing.doubles import ScriptedPolicy

from ..tiny_models import noisy_copy, tiny_model

torch.set_num_threads(1)

SWITCH = 40
LONG = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * 4,
    "long_factor": [1.5, 3.0, 5.0, 9.0],
    "original_max_position_embeddings": SWITCH,
    "factor": 12.8,
}
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}


@functools.cache
def pair(family="llama", switch=SWITCH):
    """Return a model, its drop-in, and the policy that this follows."""
    changes = {"original_max_position_embeddings": switch} if family == "phi3" else {}
    rotation = {**LONG, "original_max_position_embeddings": switch}
    model = tiny_model(family, rope_parameters=rotation, max_position_embeddings=2048, **changes)
    policy = ScriptedPolicy([0])
    return model, paceline.hf.adaptive(noisy_copy(model), policy=policy), policy


def prompt(length, seed=0):
    return torch.randint(1, 96, (1, length), generator=torch.Generator().manual_seed(seed))


def check(family, length, new, script, switch=SWITCH, seed=0, **options):
    model, fast, policy = pair(family, switch)
    policy.__init__(script)
    shared = {"max_new_tokens": new, "pad_token_id": 0, "do_sample": False, **options}
    found = model.generate(prompt(length, seed), **shared, custom_generate=fast)
    assert found.tolist() == model.generate(prompt(length, seed), **shared).tolist()


plans = st.lists(
    st.builds(Plan, st.integers(0, 6), st.sampled_from(["small", "lookup"])), min_size=1, max_size=6
)


def follows(family):
    """Tell whether this release of transformers can be followed past the switch."""
    return HfTarget(pair(family)[0]).engine.switch.cache is not None


@pytest.mark.parametrize("family", ["llama", "phi3"])
def test_the_switch_matters_in_these_models(family):
    if follows(family):
        model = pair(family)[0]
        ids = prompt(SWITCH + 1)
        with torch.no_grad():
            whole = model(ids).logits[0, -1]
            cache = DynamicCache()
            model(ids[:, :-1], **{HfTarget(model).engine.facts.cache_name: cache})
            cut = model(ids[:, -1:], **{HfTarget(model).engine.facts.cache_name: cache}).logits[0, -1]
        assert (whole - cut).abs().max() > 0.01


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["llama", "phi3"]), st.integers(SWITCH - 14, SWITCH + 4), plans, st.integers(0, 9))
def test_a_text_that_crosses_the_switch_is_that_of_generate(family, length, script, seed):
    if follows(family):
        check(family, length, 24, script, seed=seed)


@pytest.mark.parametrize("family", ["llama", "phi3"])
@pytest.mark.parametrize("length", [1100, 1025, 1024, 1023, 600])
def test_a_prompt_longer_than_what_is_read_in_one_pass_is_read_as_generate_reads_it(family, length):
    if follows(family):
        check(family, length, 8, [Plan(3, "small")], switch=1024)


@pytest.mark.parametrize("family", ["llama", "phi3"])
def test_the_hf_backend_crosses_the_switch_as_generate_does(family):
    if not follows(family):
        return
    model = pair(family)[0]
    ids = prompt(SWITCH - 6)
    wanted = model.generate(ids, max_new_tokens=20, do_sample=False, pad_token_id=0)[0, SWITCH - 6 :].tolist()
    for sampling in (GREEDY, Sampling(temperature=0.01, seed=1, top_k=1)):
        decoder = SpeculativeDecoder(
            HfTarget(model), {"small": HfDraft(noisy_copy(model))}, ScriptedPolicy([Plan(5, "small")])
        )
        made = decoder.generate(ids[0].tolist(), max_new_tokens=20, sampling=sampling)
        assert list(made.tokens) == wanted


@pytest.mark.parametrize("family", ["llama", "phi3"])
def test_a_second_turn_goes_on_past_the_switch_with_the_cache_of_the_first(family):
    if not follows(family):
        return
    model, fast, policy = pair(family)
    policy.__init__([Plan(4, "small")])
    shared = {"pad_token_id": 0, "do_sample": False}
    name = HfTarget(model).engine.facts.cache_name
    ours, theirs = DynamicCache(config=model.config), DynamicCache(config=model.config)
    first = model.generate(prompt(20), max_new_tokens=10, **shared, **{name: ours}, custom_generate=fast)
    assert (
        first.tolist() == model.generate(prompt(20), max_new_tokens=10, **shared, **{name: theirs}).tolist()
    )
    longer = torch.cat([first, prompt(14, 5)], dim=1)
    second = model.generate(longer, max_new_tokens=9, **shared, **{name: ours}, custom_generate=fast)
    assert second.tolist() == model.generate(longer, max_new_tokens=9, **shared, **{name: theirs}).tolist()
    assert ours.get_seq_length() == second.shape[1] - 1


def refused(model, fast, match, ids, **options):
    seen = []
    fast._on_round = lambda row, done: seen.append(done)
    with pytest.raises(BackendError, match=match):
        model.generate(ids, pad_token_id=0, do_sample=False, **options, custom_generate=fast)
    assert not seen
    fast._on_round = None


def test_rows_of_different_lengths_are_refused_where_one_may_cross():
    model, fast, _ = pair()
    ids = torch.cat([prompt(10), prompt(10, 1)])
    options = {"attention_mask": torch.ones_like(ids)}
    refused(model, fast, r"past 40 \(longrope\).*for each row", ids, max_new_tokens=31, **options)
    found = model.generate(
        ids, pad_token_id=0, max_new_tokens=30, do_sample=False, custom_generate=fast, **options
    )
    assert (
        found.tolist()
        == model.generate(ids, pad_token_id=0, max_new_tokens=30, do_sample=False, **options).tolist()
    )


def test_dynamic_positions_are_refused_past_their_switch_and_right_before():
    model = tiny_model("llama", rope_parameters=DYNAMIC, max_position_embeddings=SWITCH)
    fast = paceline.hf.adaptive(noisy_copy(model), policy={"name": "static", "gamma": 4})
    refused(
        model, fast, r"past 40 \(dynamic\).*keep prompt and new tokens to 40", prompt(20), max_new_tokens=21
    )
    # A text of plain decoding that went past the switch leaves the model turned; the next one turns it back.
    model.generate(prompt(30), max_new_tokens=30, do_sample=False, pad_token_id=0)
    shared = {"max_new_tokens": 20, "do_sample": False, "pad_token_id": 0}
    found = model.generate(prompt(20), **shared, custom_generate=fast)
    assert found.tolist() == model.generate(prompt(20), **shared).tolist()
    assert HfTarget(model).max_context == SWITCH


def test_every_kind_that_depends_on_the_length_is_known():
    """Of all kinds that transformers has, those that turn otherwise for a longer text are the two treated here."""
    special = {
        "default": {},
        "yarn": {"factor": 4.0},
        "llama3": {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "factor": 4.0},
    }
    depends = set()
    for kind, way in ROPE_INIT_FUNCTIONS.items():
        rotation = (
            LONG
            if kind == "longrope"
            else {
                "rope_type": kind,
                "rope_theta": 1e4,
                "factor": 4.0,
                **special.get(kind, {}),
                **({"original_max_position_embeddings": SWITCH} if kind in {"yarn", "llama3"} else {}),
            }
        )
        config = tiny_model("llama", rope_parameters=rotation, max_position_embeddings=SWITCH).config
        short, long = (way(config, torch.device("cpu"), seq_len=length)[0] for length in (10, SWITCH + 10))
        if not torch.equal(short, long):
            depends.add(kind)
    assert depends == {"dynamic", "longrope"}
    assert not depends & set(ROTATIONS)
