"""The names of transformers change from release to release; whoever calls us sees nothing of it."""

import warnings
from types import MethodType

import pytest
import torch
from transformers import DynamicCache

import paceline.hf
from paceline.backends.transformers import HfDraft, HfTarget
from paceline.backends.transformers.host.cache import CACHE, CACHE_NAMES, cache_argument
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.testing.doubles import ScriptedPolicy

from ..tiny_models import tiny_model

torch.set_num_threads(1)

MODEL = tiny_model("llama")
IDS = torch.tensor([[3, 1, 4, 1, 5]])
SHARED = {"max_new_tokens": 12, "pad_token_id": 0, "do_sample": False}


def adapted(**options):
    loop = paceline.hf.adaptive(MODEL, policy={"name": "static", "gamma": 3})
    return MODEL.generate(IDS, custom_generate=loop, **{**SHARED, **options})


def test_a_cache_given_by_the_name_of_this_release_comes_back_by_it():
    cache = DynamicCache()
    found = adapted(**{CACHE: cache}, return_dict_in_generate=True)
    assert getattr(found, CACHE) is cache
    assert found.sequences.tolist() == MODEL.generate(IDS, **SHARED).tolist()


@pytest.mark.skipif(CACHE == "past_key_values", reason="this release has the old name alone")
def test_a_cache_given_by_its_old_name_is_gone_on_with():
    cache = DynamicCache()
    with pytest.warns(FutureWarning, match="past_key_values"):
        found = adapted(past_key_values=cache)
    assert found.tolist() == MODEL.generate(IDS, **SHARED).tolist()
    assert cache.get_seq_length() == found.shape[1] - 1


@pytest.mark.parametrize("name", CACHE_NAMES)
def test_a_model_that_knows_the_cache_by_either_name_is_decoded_without_a_warning(name):
    model = tiny_model("llama")
    given = model.forward

    def old(self, input_ids=None, past_key_values=None, **options):
        held = (
            options.pop(CACHE, None) if past_key_values is None else past_key_values
        )  # as generate feeds it
        return given(input_ids=input_ids, **{CACHE: held}, **options)

    def new(self, input_ids=None, cache=None, **options):
        held = options.pop(CACHE, None) if cache is None else cache
        return given(input_ids=input_ids, **{CACHE: held}, **options)

    model.forward = MethodType({"cache": new, "past_key_values": old}[name], model)
    assert cache_argument(model.forward) == name
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decoder = SpeculativeDecoder(
            HfTarget(model), {"small": HfDraft(model)}, ScriptedPolicy([3]), eos=frozenset()
        )
        tokens = decoder.generate(IDS[0].tolist(), max_new_tokens=12).tokens
    assert list(tokens) == MODEL.generate(IDS, **SHARED)[0, IDS.shape[1] :].tolist()
