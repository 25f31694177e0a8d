"""Policies by short names, as `--policies` of the bench takes them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from paceline.core.config.blocks import PolicyConfig
from paceline.core.config.load import apply_overrides, parse_override
from paceline.core.config.resolve import CONTEXT, AnyPolicy
from paceline.core.errors import ConfigError

if TYPE_CHECKING:
    from paceline.core.decoder import SpeculativeDecoder
    from paceline.core.plugins.catalogue import Catalogue
    from paceline.lab.parts import Parts

STATIC = re.compile(r"static-(\d+)")
OPENING, CLOSING = "{[", "}]"


def static_name(gamma: int) -> str:
    """Return the short name of the policy that always plans `gamma`."""
    return f"static-{gamma}"


def static_label(gamma: int, draft: str | None, first: str | None) -> str:
    """Return what tables call a static choice: `static-4`, with the draft where it is not the first one."""
    name = static_name(gamma)
    return name if draft in {None, first} else f"{name}:draft={draft}"


def split(text: str, separator: str) -> list[str]:
    """Split at a separator, but not inside braces and brackets, and strip the parts; empty ones are left out."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in OPENING) - (letter in CLOSING)
        if letter == separator and depth <= 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def parse_policy(text: str, catalogue: Catalogue) -> PolicyConfig:
    """Return the policy that a short name stands for.

    `static-4` is the policy `static` with gamma 4; otherwise a name, with options after colons:
    `online:window=20:max_gamma=8`. A dot leads into a policy that this one holds,
    `gate:policy=online:policy.window=20`, and a value may be a mapping, `gate:policy={name: online, window: 20}`.

    Raises:
        ConfigError: There is no such policy or option.
    """
    name, *options = split(text, ":") or [""]
    if match := STATIC.fullmatch(name):
        name, options = "static", [f"gamma={match[1]}", *options]
    changes = dict(parse_override(option) for option in options)
    held = {key.partition(".")[0] for key in changes if "." in key}
    start = {"name": name, **_defaults(name, held, catalogue)}
    # Below the key `policy`, names stand for policies; see apply_overrides.
    data = apply_overrides(
        {"policy": start}, {f"policy.{key}": value for key, value in changes.items()}, fill=dict
    )
    try:
        return TypeAdapter[PolicyConfig](AnyPolicy).validate_python(
            data["policy"], context={CONTEXT: catalogue}
        )
    except ValidationError as error:
        raise ConfigError(f"policy {text!r}: {reasons(error)}") from None


def reasons(error: ValidationError) -> str:
    """Return what is wrong with a block that has no place in a file."""
    rows = (".".join(str(part) for part in row["loc"]) + f": {row['msg']}" for row in error.errors())
    return "; ".join(row.removeprefix(": ") for row in rows)


def _defaults(name: str, options: set[str], catalogue: Catalogue) -> dict[str, Any]:
    """Return the defaults of options that hold policies, so that a part of such a policy can be changed."""
    entry = catalogue.policies.get(name)
    fields = entry.config.model_fields if entry is not None else {}
    known = {option: fields[option].default for option in options if option in fields}
    return {
        option: value.model_dump(mode="json") if isinstance(value, PolicyConfig) else value
        for option, value in known.items()
        if isinstance(value, str | PolicyConfig)
    }


def plain_decoder(parts: Parts, catalogue: Catalogue) -> SpeculativeDecoder:
    """Return a decoder for plain decoding: no draft is opened, and every round plans gamma 0."""
    return parts.under(parse_policy(static_name(0), catalogue), {})
