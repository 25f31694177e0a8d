"""A policy's block, as a replay holds it, turned back into a policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from paceline.core.config.blocks import PolicyConfig
from paceline.core.config.resolve import CONTEXT, AnyPolicy
from paceline.core.errors import ConfigError
from paceline.lab.policies import reasons

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paceline.core.plugins.catalogue import Catalogue


def policy_of(block: Mapping[str, Any], catalogue: Catalogue) -> PolicyConfig:
    """Return the configuration that a block describes.

    Raises:
        ConfigError: No such policy is installed, or it has no such options.
    """
    try:
        return TypeAdapter[PolicyConfig](AnyPolicy).validate_python(dict(block), context={CONTEXT: catalogue})
    except ValidationError as error:
        raise ConfigError(
            f"the replay's policy {block.get('name')!r} cannot be built here: {reasons(error)}; install what "
            "provides it, or replay again"
        ) from None
