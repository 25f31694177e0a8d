"""Loads models and tokenizers, and turns what can go wrong into messages with a remedy."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as hf_logging

from paceline.backends.hf.draft import HfDraft, ModelDraft
from paceline.backends.hf.target import HfTarget
from paceline.backends.hf.translated import TranslatedDraft
from paceline.backends.hf.vocabulary import difference
from paceline.core.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paceline.backends.hf.config import HfConfig, ModelConfig
    from paceline.core.protocols import Draft, Target

log = structlog.get_logger()

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "vocab.txt")


def load_target(config: HfConfig) -> HfTarget:
    """Load a target.

    Raises:
        BackendError: It cannot be loaded or used; says why and what to do.
    """
    return HfTarget(_with_attention(config), load_tokenizer(config), name=config.model)


def load_draft(config: HfConfig, target: Target) -> Draft:
    """Load a draft; one that does not speak the target's tokens gets its text re-encoded.

    A pair of which one has no tokenizer is taken at its word.

    Raises:
        BackendError: It cannot be loaded or used.
    """
    model = _with_attention(config)
    return fitted(
        HfDraft(model, load_tokenizer(config), vocabulary=target.vocabulary, name=config.model), target
    )


def fitted(draft: ModelDraft, target: Target) -> Draft:
    """Return the draft, or one that re-encodes its text where its tokenizer is not the target's."""
    found = difference(target, draft)
    if found is None:
        return draft
    log.info(
        "draft_reencoded", draft=draft.engine.name, reason=f"another tokenizer than the target's: {found}"
    )
    return TranslatedDraft(draft, target)


def load_model(config: ModelConfig, **options: Any) -> Any:
    """Load the weights (safetensors only) onto their device.

    Args:
        config: Which, and in which form.
        options: For transformers, besides what `config` says.

    Raises:
        BackendError: No such model, device or weights file; not a causal language model.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    device = _device(config)
    with _explained(config), _quiet():
        model = AutoModelForCausalLM.from_pretrained(
            config.model, dtype=config.dtype, use_safetensors=True, **_source(config), **options
        )
    return model.to(device)


def load_config(config: ModelConfig) -> Any:
    """Load what a model says of itself, without its weights.

    Raises:
        BackendError: There is no such model.
    """
    with _explained(config), _quiet():
        return AutoConfig.from_pretrained(config.model, **_source(config))


def load_tokenizer(config: ModelConfig) -> Any:
    """Load the tokenizer; None when none is stored beside the model and none was named.

    Raises:
        BackendError: There is a tokenizer, but it cannot be loaded.
    """
    place = config.tokenizer or config.model
    try:
        with _quiet():
            return AutoTokenizer.from_pretrained(place, **_source(config))
    except (OSError, ValueError, ImportError, KeyError, TypeError, AttributeError) as problem:
        folder = Path(place)
        if (
            config.tokenizer is None
            and folder.is_dir()
            and not any((folder / x).exists() for x in _TOKENIZER_FILES)
        ):
            return None
        raise BackendError(
            f"{config.backend}: cannot load the tokenizer of {place!r}: {_first_line(problem)}. Name another one with "
            "`tokenizer:`"
        ) from problem


def _source(config: ModelConfig) -> dict[str, Any]:
    return {
        "revision": config.revision or "main",
        "trust_remote_code": config.trust_remote_code,
        "local_files_only": config.local_files_only,
    }


def _with_attention(config: HfConfig) -> Any:
    options = {"attn_implementation": config.attention} if config.attention else {}
    return load_model(config, **options)


def _device(config: ModelConfig) -> torch.device:
    name = config.device
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as problem:
        raise BackendError(
            f"{config.backend}: torch cannot use the device {name!r}: {_first_line(problem)}. Use auto, cpu, cuda or "
            "cuda:0"
        ) from problem


def _remedy(config: ModelConfig, problem: Exception) -> str:
    """Say in one or two sentences what was found and what to do."""
    found = _first_line(problem)
    folder = Path(config.model).expanduser()
    unsafe = "has no .safetensors weights, and pickled weights are never loaded"
    if "Unrecognized configuration class" in found:
        remedy = "It is another kind of model (encoder-decoder, or encoder); use a decoder-only text model"
    elif folder.is_dir() and not (folder / "config.json").exists():
        remedy = "The folder has no config.json; name a folder written by `save_pretrained`"
    elif folder.is_dir() and not any(folder.glob("*.safetensors")):
        remedy = f"The folder {unsafe}; save it again with safetensors"
    elif config.model.startswith((".", "/", "~")) and not folder.is_dir():
        remedy = "There is no such folder; name an existing one, or a model of the Hugging Face hub"
    elif isinstance(problem, OSError) and "safetensors" in found:
        remedy = f"It {unsafe}; name a revision that has them"
    elif isinstance(problem, OSError) and not folder.is_dir():
        remedy = (
            f"No such folder, and no such model from the hub ({found}); check name, network and access rights"
        )
    else:
        remedy = found
    return remedy + "."


@contextmanager
def _explained(config: ModelConfig) -> Iterator[None]:
    """Turn what transformers says into what was found and what to do."""
    try:
        yield
    except (OSError, ValueError, ImportError, KeyError) as problem:
        why = _remedy(config, problem)
        raise BackendError(
            f"{config.backend}: cannot load {config.model!r} as a causal language model. {why}"
        ) from problem


def _first_line(problem: Exception) -> str:
    return (str(problem).strip() or type(problem).__name__).splitlines()[0].rstrip(".")


@contextmanager
def _quiet() -> Iterator[None]:
    """Show no progress bars where nobody watches them."""
    if sys.stderr.isatty() or not hf_logging.is_progress_bar_enabled():
        yield
        return
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hf_logging.enable_progress_bar()
