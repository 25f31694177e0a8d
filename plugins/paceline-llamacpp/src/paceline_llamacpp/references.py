"""Ways of llama-cpp-python itself to decode, so that a comparison can run them beside the loop."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from paceline_llamacpp.engine import CACHE_TYPES, CHUNK

if TYPE_CHECKING:
    from collections.abc import Callable

    from paceline import RunConfig, Target
    from paceline_llamacpp.config import LlamaCppConfig

LOOKUP_LENGTHS: Final = (2, 10)
"""Lengths of its prompt lookup: the one its documentation advises for CPUs, and its default."""


def references(
    config: LlamaCppConfig, run: RunConfig, target: Target
) -> dict[str, Callable[[list[int], int], list[int]]]:
    """Return llama-cpp-python's ways to decode with the model of a run; the first decodes plainly.

    Each loads the model anew, with the first call.

    Args:
        config: The target's block.
        run: Says how tokens are chosen. Where they are drawn there is no way: the library draws by other rules.
        target: What the block built.
    """
    if not run.generation.sampling().plain:
        return {}
    ways = {"llama-cpp-python": _way(config, target, None)}
    for length in LOOKUP_LENGTHS:
        ways[f"llama-cpp-python lookup {length}"] = _way(config, target, length)
    return ways


def library_model(config: LlamaCppConfig, target: Target, lookup: int | None) -> Callable[[], Any]:
    """Return what gives the model as llama-cpp-python knows it; it is loaded by the first call.

    Args:
        config: The block.
        target: What the block built.
        lookup: Tokens that its prompt lookup proposes; None is plain decoding.
    """

    @cache
    def model() -> Any:
        llama = import_module("llama_cpp")
        draft = None
        if lookup is not None:
            speculative = import_module("llama_cpp.llama_speculative")
            draft = speculative.LlamaPromptLookupDecoding(num_pred_tokens=lookup)
        return llama.Llama(
            str(config.path),
            n_gpu_layers=config.gpu_layers,
            n_ctx=target.max_context,
            n_batch=CHUNK,
            n_threads=config.threads,
            n_threads_batch=config.threads,
            flash_attn=config.flash_attention is not False,
            type_k=CACHE_TYPES[config.cache_type],
            type_v=CACHE_TYPES[config.cache_type],
            draft_model=draft,
            no_perf=True,
            verbose=False,
        )

    return model


def _way(config: LlamaCppConfig, target: Target, lookup: int | None) -> Callable[[list[int], int], list[int]]:
    """Return one way to decode."""
    model = library_model(config, target, lookup)

    def decode(prompt: list[int], max_new_tokens: int) -> list[int]:
        new: list[int] = []
        for token in model().generate(prompt, temp=0.0, repeat_penalty=1.0):
            new.append(int(token))
            if token in target.eos or len(new) == max_new_tokens:
                break
        return new

    return decode
