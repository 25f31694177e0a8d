"""Tiny pairs of the graph backend, and the model of transformers behind each target."""

import functools

import pytest
import torch

from paceline.backends.graph import GraphDraft, GraphTarget
from paceline.backends.graph.int8 import quantisation_problem
from paceline.backends.graph.shape import FAMILIES
from paceline.backends.prompt_lookup import PromptLookup

from ..generated import generated
from ..tiny_models import noisy_copy, tiny_model

__all__ = ["FAMILIES", "int8_products", "model_of", "pair", "plainly"]

problem = quantisation_problem(torch.device("cpu")) or ""
# Products that are there and wrong are no reason to skip.
int8_products = pytest.mark.skipif("has no int8 products" in problem, reason=problem)


@functools.cache
def model_of(family, dtype=torch.float64, seed=0):
    # Of the families of `tiny_model`, only mistral has a window; here it must see all.
    changes = {"sliding_window": None} if family == "mistral" else {}
    return tiny_model(family, seed=seed, dtype=dtype, **changes)


@functools.cache
def pair(family, dtype=torch.float64, **options):
    model = model_of(family, dtype)
    drafts = {
        "near": GraphDraft(noisy_copy(model, noise=0.02), **options),
        "far": GraphDraft(model_of(family, dtype, seed=5), **options),
        "lookup": PromptLookup(),
    }
    return GraphTarget(model, **options), drafts


@functools.lru_cache(maxsize=512)
def plainly(family, prompt, max_new_tokens, eos=frozenset(), dtype=torch.float64):
    return generated(model_of(family, dtype), prompt, max_new_tokens, eos)
