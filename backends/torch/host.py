"""Models by what they say of themselves, releases, and quiet loading: transformers beyond its documented names.

What a new release can break is here, for models and their loading, and in `transformers/host`, for caches and
`generate`; nowhere else. A test keeps it so.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import sys
from contextlib import contextmanager
from functools import cache as once
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, enable_progress_bars
from transformers.utils import logging as hf_logging

from paceline.backends.torch.load_errors import untested_release
from paceline.core.errors import BackendError
from paceline.core.log import log

if TYPE_CHECKING:
    from collections.abc import Iterator


def text_config(config: Any) -> Any:
    """Return the configuration of what writes text, which that of a model of several kinds of input holds."""
    return config.get_text_config(decoder=True)


def is_encoder_decoder(model: Any) -> bool:
    """Tell whether an encoder stands before the decoder."""
    return bool(getattr(model.config, "is_encoder_decoder", False))


def keeps_logits(model: Any) -> bool:
    """Tell whether a forward pass can be told how many rows of logits to work out (`logits_to_keep`)."""
    return "logits_to_keep" in inspect.signature(model.forward).parameters


def takes_positions(model: Any) -> bool:
    """Tell whether `generate` gives a forward pass the positions of its tokens: wherever it has a name for them."""
    return "position_ids" in inspect.signature(model.forward).parameters


def hands_on(model: Any) -> bool:
    """Tell whether a forward pass takes arguments it has no names for, as those of wrappers do."""
    parameters = inspect.signature(model.forward).parameters.values()
    return any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters)


def most_positions(config: Any) -> int | None:
    """Return the longest sequence that a model has positions for, None where there is no limit."""
    # With ALiBi, positions are distances and never run out; some configurations give a number all the same.
    if getattr(config, "alibi", False):
        return None
    limit = getattr(config, "max_position_embeddings", None)
    return int(limit) if limit else None


def end_tokens(model: Any, config: Any) -> frozenset[int]:
    """Return the tokens that end a text: those of the model's generation configuration, else of its own.

    Raises:
        TypeError: What is said there are no tokens.
    """
    for source in (getattr(model, "generation_config", None), config):
        eos = getattr(source, "eos_token_id", None)
        if eos is not None:
            tokens = [eos] if isinstance(eos, int) else list(eos)
            if not all(isinstance(token, int) for token in tokens):
                raise TypeError(f"eos_token_id is {eos!r}, and should be a token or a list of tokens")
            return frozenset(tokens)
    return frozenset()


def commit_of(config: Any) -> str | None:
    """Return the commit that a configuration was loaded from, None for one that is not of the hub."""
    return getattr(config, "_commit_hash", None) or None


def keep_commit(config: Any, commit: str | None) -> None:
    """Note the commit that a configuration was loaded from, which releases since 5.24 do not."""
    if commit_of(config) is None and commit is not None:
        config._commit_hash = commit  # noqa: SLF001 - where `commit_of` and earlier releases have it


def described(config: Any) -> dict[str, Any]:
    """Return a configuration as values, without the release that wrote it: a model is the same under another."""
    return {name: value for name, value in config.to_dict().items() if name != "transformers_version"}


def identity(name: str, model: Any, device: torch.device, dtype: torch.dtype | None = None) -> str:
    """Return one line that is the same in every process for the same model on the same kind of device.

    `dtype` is the number format that is computed in, where that is not the one the model is in.

    A folder is known by its place and its config.json; weights that are replaced there, all else unchanged, are not
    told apart. A model of the hub is known by its commit.
    """
    folder = Path(name).expanduser()
    place = str(folder.resolve()) if folder.is_dir() else name
    format_name = str(dtype or model.dtype).removeprefix("torch.")
    return f"{place} {_version(model.config, folder)} {format_name} {_device(device)}"


def _version(config: Any, folder: Path) -> str:
    settings = folder / "config.json"
    if settings.is_file():
        return _digest(settings.read_bytes())
    commit = commit_of(config)
    if commit:
        return commit[:12]
    return _digest(json.dumps(described(config), sort_keys=True, default=str).encode())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def _device(device: torch.device) -> str:
    """Return the kind of device, without the number that tells equal ones apart."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


@once
def announce() -> None:
    """Log one line, once a process, where the release is untested."""
    doubt = untested_release()
    if doubt is not None:
        log.warning("transformers_untested", reason=doubt)


@contextmanager
def release_named() -> Iterator[None]:
    """Log an untested release, and add it to whatever is raised inside, or in a function that this decorates.

    For places where what transformers hands us or lets us read is met first, not for every pass.
    """
    announce()
    try:
        yield
    except BackendError as problem:
        doubt = untested_release()
        if doubt is None or doubt in str(problem):
            raise
        raise BackendError(f"{str(problem).rstrip('.')}. Mind: {doubt}") from problem
    except Exception as problem:
        doubt = untested_release()
        if doubt is not None and doubt not in getattr(problem, "__notes__", ()):
            problem.add_note(doubt)
        raise


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Show no progress bars but those of downloads on a terminal, and no tables that an error of ours tells of.

    The tables come by the logger of the module that loads, as warnings with that title.
    """
    logger = logging.getLogger("transformers.modeling_utils")
    logger.addFilter(_no_report)
    try:
        downloads = sys.stderr.isatty() and not are_progress_bars_disabled()
        with no_progress_bars():
            if downloads:
                enable_progress_bars()
            yield
    finally:
        logger.removeFilter(_no_report)


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Show no progress bars, and put the setting back afterwards."""
    shown = hf_logging.is_progress_bar_enabled()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            hf_logging.enable_progress_bar()


@contextmanager
def no_warnings() -> Iterator[None]:
    """Show errors of transformers only, for a call of which every argument is ours.

    Its assisted generation calls `generate` in a way that it calls deprecated itself, and says so.
    """
    before = hf_logging.get_verbosity()
    hf_logging.set_verbosity_error()
    try:
        yield
    finally:
        hf_logging.set_verbosity(before)


def _no_report(record: logging.LogRecord) -> bool:
    return "LOAD REPORT" not in record.getMessage()
