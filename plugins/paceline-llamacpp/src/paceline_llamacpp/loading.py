"""From a block of a run file to a target or a draft, and what can be told of either before its weights are read."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from paceline import BackendError, Readiness, tokenizer_difference
from paceline_llamacpp.codec import GgufCodec, codec_of
from paceline_llamacpp.draft import LlamaCppDraft
from paceline_llamacpp.engine import CACHE_BYTES, Engine, EngineOptions
from paceline_llamacpp.library import BACKEND, CAPABILITIES, library
from paceline_llamacpp.model import GgufModel
from paceline_llamacpp.target import LlamaCppTarget

if TYPE_CHECKING:
    from paceline import Codec, Target
    from paceline_llamacpp.config import LlamaCppConfig

LONGEST: Final = 4096
"""The context of a model whose block names none: the room of longer ones is large, and taken at once."""


def load_target(config: LlamaCppConfig) -> LlamaCppTarget:
    """Return the target that a block describes, its weights loaded.

    Raises:
        BackendError: It cannot be loaded or used.
    """
    return LlamaCppTarget(engine_of(config))


def load_draft(config: LlamaCppConfig, target: Target) -> LlamaCppDraft:
    """Return the draft that a block describes, its weights loaded.

    Raises:
        BackendError: It cannot be loaded or used, or its tokens are not the target's.
    """
    engine = engine_of(config)
    draft = LlamaCppDraft(engine, vocabulary=target.vocabulary)
    differ = difference(target.codec, draft.codec)
    if differ is not None:
        raise BackendError(
            f"{BACKEND}: the draft {engine.name} has another tokenizer than the target: {differ}"
        )
    return draft


def check_target(config: LlamaCppConfig) -> Readiness:
    """Tell what metadata and vocabulary say of a target."""
    known = _inspect(config)
    if isinstance(known.codec, GgufCodec):
        if not known.codec.chats:
            remark = "it has no chat template, so it goes on with texts and holds no conversations"
            known = replace(known, remarks=(*known.remarks, remark))
    elif not known.problems:
        known = replace(known, remarks=(*known.remarks, "it has no tokenizer, so prompts are tokens"))
    return replace(known, remarks=(*known.remarks, library().devices()))


def check_draft(config: LlamaCppConfig, target: Readiness) -> Readiness:
    """Tell the same of a draft, and whether its tokens are the target's."""
    known = _inspect(config)
    differ = difference(target.codec, known.codec)
    if differ is None:
        return known
    return replace(
        known, problems=(*known.problems, f"{BACKEND}: it has another tokenizer than the target: {differ}")
    )


def difference(target: Codec | None, draft: Codec | None) -> str | None:
    """Return in a sentence how the tokens of a pair differ; None where they do not, or only one side is known."""
    if target is None or draft is None:
        return None
    if isinstance(target, GgufCodec) and isinstance(draft, GgufCodec):
        for index, (left, right) in enumerate(zip(target.tokens(), draft.tokens(), strict=False)):
            if left != right:
                return f"token {index} is {left!r} for the target and {right!r} for the draft."
    return tokenizer_difference(target, draft)


def engine_of(config: LlamaCppConfig) -> Engine:
    """Return the model of a block at work, its weights loaded.

    Raises:
        BackendError: It cannot be loaded or used.
    """
    if config.gpu_layers and not library().api.llama_supports_gpu_offload():
        raise BackendError(f"{BACKEND}: {_no_gpu(config)}")
    model = GgufModel(config.path, gpu_layers=config.gpu_layers)
    return Engine(model, _options(config, model))


def _no_gpu(config: LlamaCppConfig) -> str:
    return (
        f"gpu_layers is {config.gpu_layers}, and this build of llama.cpp knows no GPU; leave it out, or build "
        "llama-cpp-python for your GPU (CMAKE_ARGS=-DGGML_CUDA=ON)"
    )


def _options(config: LlamaCppConfig, model: GgufModel) -> EngineOptions:
    """Return the form in which a model is run.

    Raises:
        BackendError: The context is longer than the model was trained for.
    """
    if config.context is not None and config.context > model.trained_context:
        raise BackendError(
            f"{BACKEND}: context is {config.context}, and {model.name} was trained for {model.trained_context} tokens; "
            f"use {model.trained_context} or less"
        )
    return EngineOptions(
        threads=config.threads,
        context=config.context or min(model.trained_context, LONGEST),
        parallel=config.parallel,
        cache_type=config.cache_type,
        flash_attention=config.flash_attention,
        gpu_layers=config.gpu_layers,
        block_multiple=config.block_multiple,
    )


def _inspect(config: LlamaCppConfig) -> Readiness:
    """Look at all that loading looks at before it reads weights."""
    problems = []
    if config.gpu_layers and not library().api.llama_supports_gpu_offload():
        problems.append(f"{BACKEND}: {_no_gpu(config)}")
    try:
        model = GgufModel(config.path, vocabulary_only=True)
        options = _options(config, model)
    except BackendError as refused:
        return Readiness((*problems, str(refused)), capabilities=CAPABILITIES)
    return Readiness(
        tuple(problems),
        memory={"cpu": model.path.stat().st_size + _cache_bytes(model, options)},
        capabilities=CAPABILITIES,
        codec=codec_of(model),
        vocabulary=model.vocabulary,
    )


def _cache_bytes(model: GgufModel, options: EngineOptions) -> int:
    """Return the room that the cache takes, as far as the metadata tells the shape of the layers; else 0."""
    layers, width = model.number("block_count"), model.number("embedding_length")
    heads, shared = model.number("attention.head_count"), model.number("attention.head_count_kv")
    if layers is None or width is None or not heads:
        return 0
    keys = model.number("attention.key_length") or width // heads
    values = model.number("attention.value_length") or width // heads
    numbers = layers * (shared or heads) * (keys + values) * options.room * options.parallel
    return int(numbers * CACHE_BYTES[options.cache_type])
