"""Drafts by short names, as `--drafts` of the bench takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from paceline.core.config.blocks import BackendConfig
from paceline.core.config.resolve import CONTEXT, DraftBackend
from paceline.core.errors import ConfigError
from paceline.lab.policies import reasons

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paceline.core.config.run import RunConfig
    from paceline.core.plugins.catalogue import Catalogue

LOOKUP = "lookup"
SHORT: Mapping[str, Mapping[str, str]] = {
    LOOKUP: {"backend": "prompt-lookup"},
    "small": {"backend": "embedded", "size": "small"},
    "medium": {"backend": "embedded", "size": "medium"},
}
"""Meaning of these names where the run has no draft of that name."""


def draft_named(name: str, catalogue: Catalogue) -> BackendConfig:
    """Return the draft that a short name stands for: one of `SHORT`, or a backend's own name.

    Raises:
        ConfigError: There is none, or it is no draft.
    """
    try:
        return TypeAdapter[BackendConfig](DraftBackend).validate_python(
            SHORT.get(name, name), context={CONTEXT: catalogue}
        )
    except ValidationError as error:
        raise ConfigError(f"draft {name!r}: {reasons(error)}; short names: {', '.join(SHORT)}") from None


def with_drafts(run: RunConfig, names: Sequence[str], catalogue: Catalogue) -> RunConfig:
    """Return the run with these drafts only, in this order: its own ones by name, others by their short names.

    Raises:
        ConfigError: A name is given twice, or stands for nothing.
    """
    if len(set(names)) < len(names):
        raise ConfigError(f"each draft can be there once; found {', '.join(names)}")
    own = run.drafts
    chosen = {name: own[name] if name in own else draft_named(name, catalogue) for name in names}
    return run.model_copy(update={"drafts": chosen})
