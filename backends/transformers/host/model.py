"""What a loaded model says of itself: by its configuration, and by the signature of its forward pass."""

from __future__ import annotations

import inspect
from typing import Any


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
        found = getattr(source, "eos_token_id", None)
        if found is not None:
            tokens = [found] if isinstance(found, int) else list(found)
            if not all(isinstance(token, int) for token in tokens):
                raise TypeError(f"eos_token_id is {found!r}, and should be a token or a list of tokens")
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
