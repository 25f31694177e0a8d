"""Policies by short names, as `--policies` of the bench takes them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from paceline.core.config.blocks import PolicyConfig
from paceline.core.config.overrides import apply_overrides, parse_override
from paceline.core.config.resolve import CONTEXT, AnyPolicy
from paceline.core.errors import ConfigError

if TYPE_CHECKING:
    from paceline.core.decoder import SpeculativeDecoder
    from paceline.core.plugins.catalogue import Catalogue
    from paceline.lab.parts import Parts

STATIC = re.compile(r"static-(\d+)")


def static_name(gamma: int) -> str:
    """Return the short name of the policy that always plans `gamma`."""
    return f"static-{gamma}"


def parse_policy(text: str, catalogue: Catalogue) -> PolicyConfig:
    """Return the policy that a short name stands for.

    `static-4` is the policy `static` with gamma 4; otherwise a name, with options after colons:
    `online:window=20:max_gamma=8`.

    Raises:
        ConfigError: There is no such policy or option.
    """
    if found := STATIC.fullmatch(text):
        text = f"static:gamma={found[1]}"
    name, *options = text.split(":")
    changes = dict(parse_override(option) for option in options)
    data = apply_overrides({"name": name}, changes, fill=dict)
    try:
        return TypeAdapter[PolicyConfig](AnyPolicy).validate_python(data, context={CONTEXT: catalogue})
    except ValidationError as error:
        details = "; ".join(
            f"{'.'.join(str(part) for part in row['loc'])}: {row['msg']}" for row in error.errors()
        )
        raise ConfigError(f"policy {text!r}: {details}") from None


def plain_decoder(parts: Parts, catalogue: Catalogue) -> SpeculativeDecoder:
    """Return a decoder for plain decoding: no draft is opened, and every round plans gamma 0."""
    return parts.under(parse_policy(static_name(0), catalogue), {})
