"""Ways of transformers itself to decode, so that a comparison can run them beside the loop.

Everything is left at its defaults except what makes the outputs comparable: how tokens are chosen or drawn,
end-of-sequence tokens and length limit.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import torch

from paceline.backends.torch.draft import DraftModel
from paceline.backends.torch.host import no_warnings
from paceline.backends.torch.loading import load_model
from paceline.backends.torch.reencoding import TranslatedDraft
from paceline.backends.torch.target import TargetModel
from paceline.backends.transformers.engine import TransformersEngine
from paceline.backends.transformers.generate import adaptive
from paceline.backends.transformers.host.cache import STATIC_CACHES_ROLL_BACK
from paceline.backends.transformers.host.generation import COMPILING, static_cache

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedModel

    from paceline.core.config.blocks import Generate
    from paceline.core.config.run import RunConfig
    from paceline.core.protocols import Draft, Target
    from paceline.core.sampling import Sampling

    Original = Callable[[], PreTrainedModel]
    Options = Callable[[], dict[str, Any]]


def references(run: RunConfig, target: Target, draft: Draft | None) -> dict[str, Generate]:
    """Return transformers' ways to decode with the models of a run.

    Args:
        run: Says how tokens are chosen. Where an engine has taken a model apart, its block is loaded anew, once and not
            before it is needed: a comparison without these ways has no second model in memory.
        target: The target of the run.
        draft: Its first draft, for assisted generation; one that is no model of transformers is left out, and so is
            one with another tokenizer where tokens are drawn, for which transformers has a method of its own.
    """
    assert isinstance(target, TargetModel)
    sampling, options = run.generation.sampling(), {}
    if isinstance(draft, TranslatedDraft) and target.codec is not None and sampling.greedy:
        options = {"tokenizer": target.codec.tokenizer, "assistant_tokenizer": draft.codec.tokenizer}
        draft = draft.source
    assistant: Original | Literal["lookup"] | None = None if isinstance(draft, TranslatedDraft) else "lookup"
    if isinstance(draft, DraftModel):
        assistant = _original(draft, next(iter(run.drafts.values()), None))
    return reference_modes(
        _original(target, run.target), assistant, target.eos, sampling, device=target.engine.device, **options
    )


LOOKED_UP = 10
"""Tokens that transformers' documentation lets its prompt lookup propose."""


def _original(loaded: TargetModel | DraftModel, block: Any) -> Original:
    """Return what gives the model as transformers knows it."""
    engine = loaded.engine
    if isinstance(engine, TransformersEngine):
        model = engine.model
        return lambda: model
    return cache(lambda: load_model(block))


def reference_modes(
    target: Original,
    draft: Original | Literal["lookup"] | None,
    eos: frozenset[int],
    sampling: Sampling,
    *,
    device: torch.device,
    **options: Any,
) -> dict[str, Generate]:
    """Return functions from prompt tokens and a length limit to new tokens, by name; the first decodes plainly.

    "hf lookup" is `generate` with its own prompt lookup, of as many tokens as its documentation takes. "hf assisted"
    is `generate` with `assistant_model`, the `options` given (the tokenizers, where they are two) and every other
    setting at its default; "hf adaptive" is `generate` with our loop in the place of its own, on that draft or on
    lookup. On a GPU, "hf compiled" and "hf compiled assisted" are the first and the third with a static cache, which
    makes `generate` compile its passes; releases before 5.24 know no such assisted generation. Where tokens are
    drawn, each call begins with the seed; the random state of the process is put back.
    """
    compiled = device.type in COMPILING
    ways = {"hf generate": _way(target, eos, sampling)}
    if compiled:
        ways["hf compiled"] = _way(target, eos, sampling, static=True)
    ways["hf lookup"] = _way(target, eos, sampling, lambda: {"prompt_lookup_num_tokens": LOOKED_UP})
    if draft == "lookup":
        ways["hf adaptive"] = _way(target, eos, sampling, lambda: {"custom_generate": adaptive("lookup")})
    elif draft is not None:
        assisted: Options = lambda: {"assistant_model": draft(), **options}  # noqa: E731 - beside its use
        ways["hf assisted"] = _way(target, eos, sampling, assisted)
        if compiled and STATIC_CACHES_ROLL_BACK:
            ways["hf compiled assisted"] = _way(target, eos, sampling, assisted, static=True)
        if not options:
            ways["hf adaptive"] = _way(target, eos, sampling, lambda: {"custom_generate": adaptive(draft())})
    return ways


def _way(
    target: Original,
    eos: frozenset[int],
    sampling: Sampling,
    options: Options = dict,
    *,
    static: bool = False,
) -> Callable[[list[int], int], list[int]]:
    """Return one way to decode; the models and what is made of them come with its first call."""
    options = cache(options)

    def decode(prompt: list[int], max_new_tokens: int) -> list[int]:
        model = target()
        ids = torch.tensor([prompt], device=model.device)
        kind = static_cache(len(prompt) + max_new_tokens) if static else {}
        devices = [model.device] if model.device.type == "cuda" else []
        generate: Any = model.generate
        with torch.random.fork_rng(devices=devices), no_warnings():
            torch.manual_seed(sampling.seed)
            written = generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=max_new_tokens,
                eos_token_id=sorted(eos) or None,
                pad_token_id=min(eos, default=0),
                **_settings(model, sampling),
                **kind,
                **options(),
            )
        new: list[int] = written[0, len(prompt) :].tolist()
        return new

    return decode


def _settings(target: PreTrainedModel, sampling: Sampling) -> dict[str, Any]:
    """Return what `generate` must be told, so that nothing comes from the generation settings of the model."""
    settings = {
        "do_sample": not sampling.greedy,
        "repetition_penalty": sampling.repetition_penalty,
        "no_repeat_ngram_size": 0,
    }
    if sampling.greedy:
        return settings
    neutral = {"top_k": 0, "top_p": 1.0, "typical_p": 1.0}
    settings["temperature"] = sampling.temperature
    for name, nothing in neutral.items():
        value = getattr(sampling, name)
        settings[name] = nothing if value is None else value
    # Any number, 0.0 as well, costs a pass over the vocabulary.
    if sampling.min_p is not None or getattr(target.generation_config, "min_p", None) is not None:
        settings["min_p"] = sampling.min_p or 0.0
    return settings
