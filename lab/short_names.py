"""Policies and drafts by short names, as command lines take them, and the one way to choose among policies."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from paceline.core.config.blocks import BackendConfig, PolicyConfig
from paceline.core.config.load import apply_overrides, parse_override
from paceline.core.config.resolve import CONTEXT, AnyPolicy, DraftBackend
from paceline.core.errors import CapabilityError, ConfigError, PacelineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from paceline.core.config.run import RunConfig
    from paceline.core.decoder import SpeculativeDecoder
    from paceline.core.plugins.catalogue import Catalogue
    from paceline.lab.models import Models

Made = TypeVar("Made")

STATIC = re.compile(r"static-(\d+)")
OPENING, CLOSING = "{[", "}]"

EVERYTHING = "all"
CONFIGURED = "config"
"""The policy of the run file."""

LOOKUP = "lookup"
SHORT: Mapping[str, Mapping[str, str]] = {
    LOOKUP: {"backend": "prompt-lookup"},
    "small": {"backend": "embedded", "size": "small"},
    "medium": {"backend": "embedded", "size": "medium"},
}
"""Meaning of these names where the run has no draft of that name."""


@dataclass(slots=True)
class Selection(Generic[Made]):
    """Policies chosen by name.

    Attributes:
        made: Whatever was made of each, by name, in the order of the table.
        left_out: Those that do not fit, with the reason.
        refused: Of these, the ones that were named.
    """

    made: dict[str, Made] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)


def select(
    names: Sequence[str],
    make: Callable[[str], Made],
    *,
    base: str,
    usual: Callable[[], Iterable[str]],
    every: Callable[[], Iterable[str]],
    drafts: Sequence[str],
    strict: bool,
) -> Selection[Made]:
    """Make something of each policy that is named; the base is always among them.

    A policy that `all` or the usual list brings along is left out where it does not fit, and made once more with the
    first draft alone, where there are several.

    Args:
        names: As given on the command line, `all` among them.
        make: Makes it from a name; raises a `CapabilityError` where the policy does not fit.
        base: Plain decoding.
        usual: The names where none is given.
        every: The names that `all` stands for.
        drafts: Those there are.
        strict: Whether a policy that is named must fit; otherwise it is left out and `refused`.

    Raises:
        ConfigError: A name is given twice.
        PacelineError: As `make` raises it for what was named.
    """
    named = [name for name in names if name != EVERYTHING]
    if len(set(named)) < len(named):
        raise ConfigError(f"each policy can be tried once; found {', '.join(named)}")
    brought = usual() if not names else every() if EVERYTHING in names else ()
    selection: Selection[Made] = Selection()
    for name in dict.fromkeys((base, *brought, *named)):
        try:
            selection.made[name] = make(name)
        except PacelineError as error:
            given = name in named or name == base
            if given and (strict or not isinstance(error, CapabilityError)):
                raise
            selection.left_out[name] = str(error)
            if given:
                selection.refused.append(name)
            elif len(drafts) > 1:
                _make_with_one_draft(name, drafts[0], make, selection)
    return selection


def _make_with_one_draft(
    name: str, draft: str, make: Callable[[str], Made], selection: Selection[Made]
) -> None:
    limited = f"{name}:draft={draft}"
    if limited not in selection.made:
        with suppress(PacelineError):
            selection.made[limited] = make(limited)
            selection.left_out[name] += f"; instead, {limited!r} was tried"


def installed(catalogue: Catalogue) -> list[str]:
    """Return the names of all policies that are installed; `static` goes by its gammas."""
    return sorted({*catalogue.policies, *catalogue.policy_clashes} - {"static"})


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
    for option in options:
        if "=" not in option:
            raise ConfigError(f"policy {text!r}: {option!r} should be option=value, as in online:window=20")
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


def short_name(config: PolicyConfig) -> str:
    """Return a short name that stands for a policy's configuration: its name, and the options that were given."""
    block = config.model_dump(mode="json")
    name = static_name(block.pop("gamma")) if config.name == "static" else config.name
    options = [
        f"{option}={value if isinstance(value, str) else json.dumps(value)}"
        for option, value in block.items()
        if option in config.model_fields_set - {"name"}
    ]
    return ":".join((name, *options))


def reasons(error: ValidationError) -> str:
    """Return what is wrong with a block that has no place in a file."""
    rows = (
        f"{'.'.join(map(str, row['loc']))}: {row['msg'].removeprefix('Value error, ')}"
        for row in error.errors()
    )
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


def plain_decoder(models: Models, catalogue: Catalogue) -> SpeculativeDecoder:
    """Return a decoder for plain decoding: no draft is opened, and every round plans gamma 0."""
    return models.under(parse_policy(static_name(0), catalogue), {})


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
