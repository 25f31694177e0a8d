"""Tiny pairs whose rounds are programs, called without a GPU, and the model of transformers behind each target."""

import functools

import torch

from paceline.backends.graph.cuda.models import open_draft, open_target
from paceline.backends.graph.cuda.runner import EagerRunner
from paceline.backends.prompt_lookup import PromptLookup
from paceline.core.records import Capabilities

from ...tiny_models import noisy_copy
from ..pairs import FAMILIES, model_of, plainly

__all__ = ["CONTEXT", "FAMILIES", "made", "model_of", "pair", "plainly"]

CONTEXT = 80
"""Small, and no whole number of blocks, so that tests come upon every edge of the cache."""


def made(model, others, *, runner=None, warm=False, any_gamma=True, **options):
    """Return a target of a model, and drafts of others beside it."""
    options = {"max_context": CONTEXT, "block": 16, **options}
    target = open_target(
        model,
        runner=runner or EagerRunner(torch.device("cpu")),
        warm=warm,
        **options,
    )
    if any_gamma:
        # The sessions take any gamma up to the largest tier; scripts of tests know no tiers.
        target.capabilities = Capabilities(sampling=True)
    options.pop("tiers", None)
    drafts = {name: open_draft(other, target=target, warm=warm, **options) for name, other in others.items()}
    return target, drafts


@functools.cache
def pair(family, dtype=torch.float64):
    model = model_of(family, dtype)
    others = {"near": noisy_copy(model, noise=0.02), "far": model_of(family, dtype, seed=5)}
    target, drafts = made(model, others)
    return target, {**drafts, "lookup": PromptLookup()}
