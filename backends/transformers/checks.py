"""Refusals of models that cannot be decoded by rounds, each found out by trying it and not from a list of names.

`generate` lets a model, or what is wrapped around it, prepare the input of each pass. Some put learnt prompts before
the text there (prompt tuning), or count positions in their own way. Whether passes of ours say the same is found out
by making the same two in both ways. Recurrent layers cannot go back at all.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from paceline.backends.torch.host import hands_on, is_encoder_decoder
from paceline.backends.transformers.host.cache import (
    branching_problem,
    cache_argument,
    keeps_running_state,
    kinds_of_layers,
)
from paceline.backends.transformers.host.generation import behind_padding, preparation, prepares, two_passes
from paceline.backends.transformers.rows_layout import layouts
from paceline.core.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paceline.backends.transformers.engine import TransformersEngine


def require_decoder(model: Any, name: str) -> None:
    """Look at what a model is before anything is tried on it.

    Raises:
        BackendError: It is not a decoder with a language-model head over a key-value cache.
    """
    kind = f"hf: {name} ({type(model).__name__})"
    if not hasattr(model, "config") or not hasattr(model, "get_input_embeddings"):
        raise BackendError(f"{kind} is no model of transformers; load it with AutoModelForCausalLM.")
    if is_encoder_decoder(model):
        raise BackendError(
            f"{kind} is an encoder-decoder model; only decoder-only models are supported. Use a causal language model "
            "such as Llama, Qwen or GPT-2."
        )
    if cache_argument(model.forward) is None and not hands_on(model):
        raise no_cache(model, name)
    if model.get_output_embeddings() is None:
        raise BackendError(f"{kind} has no language-model head; load it with AutoModelForCausalLM.")


def no_cache(model: Any, name: str) -> BackendError:
    """Return the refusal of a model that keeps nothing of what it reads, or keeps it in a way of its own."""
    return BackendError(
        f"hf: {name} ({type(model).__name__}) fills no key-value cache, so its last tokens cannot be taken back after "
        "a rejection. Recurrent models (RWKV) and those that read the whole text in each pass are not supported; use a "
        "causal language model with attention layers and a cache."
    )


def require_agreement(engine: TransformersEngine) -> None:
    """Compare a prompt and a step after it with what `generate` makes of the same tokens.

    Raises:
        BackendError: They differ.
    """
    if not prepares(engine.model):
        return
    tokens = [index % engine.vocabulary for index in (1, 2, 3, 2)]
    cache = engine.new_cache()
    ours = [engine.feed(cache, tokens[:-1]), engine.feed(cache, tokens[-1:])]
    try:
        theirs = two_passes(engine.model, torch.tensor([tokens], device=engine.device), engine.new_cache())
    except torch.OutOfMemoryError:
        raise
    except Exception as problem:
        raise more_than_given(engine, f"{preparation(engine.model)} fails: {problem!r}") from problem
    # Passes of equal shapes agree to the last bits in any precision.
    pairs = zip(ours, theirs, strict=True)
    if not all(torch.allclose(left, right, rtol=1e-3, atol=1e-4, equal_nan=True) for left, right in pairs):
        raise more_than_given(engine, f"{preparation(engine.model)} leads to other logits")


def require_blind_to_padding(engine: TransformersEngine) -> None:
    """Compare a text behind padding, as `generate` reads it in a batch, with the text alone, as it is read here.

    Raises:
        BackendError: They differ: the model counts padding.
    """
    if engine.facts.takes_positions or not prepares(engine.model):
        return
    tokens, count = [index % engine.vocabulary for index in (1, 2, 3)], 5
    alone = engine.feed(engine.new_cache(), tokens)
    ids = torch.tensor([[0] * count + tokens], device=engine.device)
    padded = behind_padding(engine.model, ids, count, engine.new_cache())
    # NaN behind padding is no number to compare with.
    if not (padded.isnan().any() or _roughly(alone, padded)):
        raise BackendError(
            f"hf: {engine.name} ({type(engine.model).__name__}) counts padding as text, so that a row of a batch "
            "depends on the length of the others; call generate for each row, without padding"
        )


def _mask_problem(engine: TransformersEngine) -> str | None:
    """Say why a mask and positions of ours cannot say what a token sees and where it stands; None where they may."""
    facts = engine.facts
    if facts.switch is not None:
        return f"it turns positions otherwise past {facts.switch.length} tokens"
    return branching_problem(engine.model, engine.config)


def tree_problem(engine: TransformersEngine) -> str | None:
    """Say why the model cannot read a tree in one pass; None where two branches give what two chains give."""
    problem = _mask_problem(engine)
    if problem is not None:
        return problem
    left, right, after = ([index % engine.vocabulary for index in text] for text in ((1, 2), (2, 3), (1, 3)))
    nodes, parents = [left[0], right[0], left[1], right[1]], (-1, -1, 0, 1)
    cache = engine.new_cache()
    try:
        engine.feed(cache, after)
        tree = engine.feed_tree(cache, [0, *nodes], parents, len(nodes))
        engine.keep_path(cache, len(after), (0, 2, 4))
        tree = torch.cat([tree, engine.feed(cache, after, 2)])
        cache.crop(-1 - len(right) - len(after))
        chains = engine.feed(cache, [0, *left], 2)
        cache.crop(-1 - len(left))
        chains = torch.cat([chains, engine.feed(cache, [0, *right, *after], 4)])
    except torch.OutOfMemoryError:
        raise
    except Exception as refused:  # noqa: BLE001 - models take masks in many ways
        return f"a pass with a mask and positions of ours fails: {refused!r}"
    if not _roughly(chains, tree[[0, 2, 1, 3, 4, 5]]):
        return "two branches of a tree lead to other logits than two chains"
    return None


def rows_problem(engine: TransformersEngine) -> str | None:
    """Say why rows cannot share a pass; None where a pass says of each of several what a pass of its own says of it.

    Rows of unequal lengths are given unequal counts of tokens, and laid out in both ways, in four passes.
    """
    problem = _mask_problem(engine)
    if problem is not None:
        return problem
    texts = [[(index * step + 1) % engine.vocabulary for index in range(4 + step)] for step in (1, 2)]
    caches = [engine.new_cache() for _ in texts]
    try:
        alone = [engine.feed(engine.new_cache(), text, len(text)) for text in texts]
        # First one behind the other; then side by side, where the row that is further ahead is given less.
        for counts, rows, way in (((2, 5), (1, 2), 1), ((3, 1), (2, 1), 0)):
            filled = [cache.get_seq_length() for cache in caches]
            ends = [begin + count for begin, count in zip(filled, counts, strict=True)]
            ids = [
                token
                for text, begin, end in zip(texts, filled, ends, strict=True)
                for token in text[begin:end]
            ]
            together = engine.feed_laid_out(
                caches, torch.tensor(ids, device=engine.device), layouts(filled, counts)[way], rows
            )
            expected = [logits[end - last : end] for logits, end, last in zip(alone, ends, rows, strict=True)]
            if not _roughly(torch.cat(expected), together):
                return "in a pass that rows share, it says of a row what it does not say of it alone"
    except torch.OutOfMemoryError:
        raise
    except Exception as refused:  # noqa: BLE001 - whatever it is, rows are then read one by one
        return f"a pass over several rows fails: {refused!r}"
    return None


def _roughly(expected: torch.Tensor, actual: torch.Tensor) -> bool:
    """Tell whether logits agree that come of passes of unequal shapes, short floats roughly."""
    rough = 1e-3 if torch.finfo(expected.dtype).bits >= 32 else 5e-2
    return bool((expected - actual).abs().max() <= rough * expected.abs().max())


def more_than_given(engine: TransformersEngine, problem: str) -> BackendError:
    """Return the refusal of a model that goes by more than the tokens it is given."""
    return BackendError(
        f"hf: {engine.name} ({type(engine.model).__name__}) is fed more than its tokens and a cache: {problem}. Learnt "
        "prompts (prompt tuning, prefix tuning) and inputs of its own cannot be honoured here; use `generate` alone, "
        "or an adapter that changes weights, such as LoRA."
    )


def require_rollback(engine: TransformersEngine) -> None:
    """Feed three tokens, go ahead by two passes, go back, and compare with never having gone ahead.

    Raises:
        BackendError: The model's cache cannot forget its last tokens.
    """
    tokens = [index % engine.vocabulary for index in (1, 2, 3)]
    plain, tried = engine.new_cache(), engine.new_cache()
    with _rollback_errors(engine, plain):
        engine.feed(plain, tokens)
        held = plain.get_seq_length()
    if held != len(tokens) and not keeps_running_state(plain):
        if held > len(tokens):
            raise more_than_given(engine, f"it reads {held} tokens where it is given {len(tokens)}")
        raise no_cache(engine.model, engine.name)
    with _rollback_errors(engine, plain):
        engine.feed(tried, tokens)
        engine.feed(tried, [tokens[0], tokens[0]])
        engine.feed(tried, [tokens[1]])
        tried.crop(-3)
        # The two passes compared have equal shapes, so that they agree to the last bits in any precision.
        expected, actual = engine.feed(plain, tokens[:1]), engine.feed(tried, tokens[:1])
    if keeps_running_state(plain) or not torch.allclose(expected, actual, rtol=1e-3, atol=1e-4):
        raise _no_rollback(engine, plain)


@contextmanager
def _rollback_errors(engine: TransformersEngine, made: Any) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except Exception as problem:
        raise _no_rollback(engine, made) from problem


def _no_rollback(engine: TransformersEngine, made: Any) -> BackendError:
    return BackendError(
        f"hf: {engine.name} ({type(engine.model).__name__}) cannot forget its last tokens, which speculative decoding "
        f"needs after a rejection; cache layers found: {kinds_of_layers(made)}. Recurrent and linear-attention models "
        "keep a running state that has no way back. Use a model with attention layers only."
    )
