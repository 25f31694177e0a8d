"""Loading of models and tokenizers; what can go wrong becomes a message with a remedy."""

from __future__ import annotations

from contextlib import nullcontext, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from paceline.backends.torch.checkpoint import commit_in_cache, described, require_complete, stored_tensors
from paceline.backends.torch.draft import DraftModel
from paceline.backends.torch.host import keep_commit, quiet_loading, release_named
from paceline.backends.torch.load_errors import damaged_file, explained, first_line
from paceline.backends.torch.reencoding import TranslatedDraft
from paceline.backends.torch.target import TargetModel
from paceline.backends.torch.tokenizers import difference
from paceline.core.errors import BackendError
from paceline.core.gguf import gguf_file
from paceline.core.log import log

if TYPE_CHECKING:
    from paceline.backends.torch.config import ModelConfig
    from paceline.core.protocols import Draft, Target


_Made = TypeVar("_Made", bound=TargetModel | DraftModel)

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "vocab.txt")


def usable(made: _Made) -> _Made:
    """Return a target or draft after everything that a run asks of it, besides its passes, was asked once.

    Raises:
        Exception: Of any class; its files are damaged.
    """
    _ = made.identity, made.engine.eos, made.engine.max_context
    if made.codec is not None:
        made.codec.decode(made.codec.encode("a"))
    return made


def fitted(draft: DraftModel, target: Target) -> Draft:
    """Return the draft, or one that re-encodes its text where its tokenizer is not the target's."""
    reason = difference(target, draft)
    if reason is None:
        return draft
    log.info(
        "draft_reencoded", draft=draft.engine.name, reason=f"another tokenizer than the target's: {reason}"
    )
    return TranslatedDraft(draft, target)


def set_threads(config: ModelConfig) -> None:
    """Set the number of threads that the block of a target names; it is one number for the whole process."""
    if isinstance(config.threads, int):
        torch.set_num_threads(config.threads)


def keep_threads(config: ModelConfig) -> None:
    """Leave the number of threads to the target, and log it where the block of a draft names another one."""
    if isinstance(config.threads, int) and config.threads != torch.get_num_threads():
        log.info(
            "threads_kept",
            model=config.model,
            threads=torch.get_num_threads(),
            reason="torch has one number for the whole process, and the target's block decides",
        )


@release_named()
def load_model(config: ModelConfig, **options: Any) -> Any:
    """Load the weights (safetensors only) onto their device; all of them, and nothing else, must be there.

    Args:
        config: Which, and in which form; to be int8 later, it is loaded as it is stored.
        options: For transformers, besides what `config` says.

    Raises:
        BackendError: No such model, device or weights file; not a causal language model; weights that do not fit it.
    """
    device = device_of(config)
    settings = load_config(config)
    source = _source(config)
    # The bar of GGUF files knows no switch.
    bar = redirect_stderr(StringIO()) if "gguf_file" in source else nullcontext()
    with explained(config), quiet_loading(), bar:
        described(config, settings, stored_tensors(config, settings))
        model, info = AutoModelForCausalLM.from_pretrained(
            source.pop("place"),
            dtype="auto" if config.dtype == "int8" else config.dtype,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
            **source,
            **options,
        )
        require_complete(config, info)
        if "gguf_file" in source:
            # What a GGUF file held in fewer bits is float32 from here on.
            model.config.__dict__.pop("quantization_config", None)
        keep_commit(model.config, commit_in_cache(config))
        return model.to(device)


@release_named()
def load_config(config: ModelConfig) -> Any:
    """Load what a model says of itself, without its weights.

    Raises:
        BackendError: There is no such model, or what it says cannot be read.
    """
    folder = Path(config.model).expanduser()
    source = _source(config)
    if (file := gguf_file(config.model)) is not None:
        if not file.is_file():
            raise BackendError(
                f"{config.backend}: cannot load {config.model!r}. There is no file {str(file)!r}."
            )
        with explained(config), quiet_loading():
            return AutoConfig.from_pretrained(source.pop("place"), **source)
    # Where its generation_config.json is damaged, transformers makes do with config.json: other tokens end a text.
    damage = damaged_file(folder, ("config.json", "generation_config.json")) if folder.is_dir() else None
    if damage is not None:
        raise BackendError(f"{config.backend}: cannot load {config.model!r}. {damage}.")
    if folder.is_file():
        raise BackendError(
            f"{config.backend}: cannot load {config.model!r}. It is a file; name the folder that holds config.json and "
            "the weights. For GGUF files there is the plugin paceline-llamacpp."
        )
    with explained(config), quiet_loading():
        return AutoConfig.from_pretrained(source.pop("place"), **source)


@release_named()
def load_tokenizer(config: ModelConfig) -> Any:
    """Load the tokenizer; None when none is stored beside the model and none was named.

    Raises:
        BackendError: There is a tokenizer, but it cannot be loaded.
    """
    place = config.tokenizer or config.model
    folder = Path(place).expanduser()
    source = _source(config, place)
    try:
        with explained(config), quiet_loading():
            return AutoTokenizer.from_pretrained(source.pop("place"), **source)
    except BackendError as problem:
        if (
            config.tokenizer is None
            and folder.is_dir()
            and not any((folder / x).exists() for x in _TOKENIZER_FILES)
        ):
            return None
        why = (damaged_file(folder) if folder.is_dir() else None) or first_line(problem.__cause__ or problem)
        raise BackendError(
            f"{config.backend}: cannot load the tokenizer of {place!r}: {why}. Name another one with `tokenizer:`"
        ) from problem


def _source(config: ModelConfig, model: str | None = None) -> dict[str, Any]:
    """Return where transformers reads a model: its `place`, and arguments by name."""
    model = config.model if model is None else model
    file = gguf_file(model)
    if file is not None:
        return {"place": str(file.parent), "gguf_file": file.name, "local_files_only": True}
    return {
        "place": model,
        "revision": config.revision or "main",
        "trust_remote_code": config.trust_remote_code,
        "local_files_only": config.local_files_only,
    }


def device_of(config: ModelConfig) -> torch.device:
    """Return the device that a block means.

    Raises:
        BackendError: torch cannot use it.
    """
    name = config.device
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except Exception as problem:
        raise BackendError(
            f"{config.backend}: torch cannot use the device {name!r}: {first_line(problem)}. Use auto, cpu, cuda or "
            "cuda:0"
        ) from problem
