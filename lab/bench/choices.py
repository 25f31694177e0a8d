"""Which modes a bench runs: from the names on the command line to something that decodes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pydantic import TypeAdapter

from paceline.core.config.blocks import BackendConfig
from paceline.core.config.resolve import CONTEXT, DraftBackend
from paceline.core.errors import ConfigError
from paceline.lab.bench.modes import LoopMode, ReferenceMode
from paceline.lab.bench.summary import BASE
from paceline.lab.policies import STATIC, parse_policy, plain_decoder, static_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paceline.core.plugins.catalogue import Catalogue
    from paceline.core.protocols import Draft
    from paceline.lab.bench.modes import Generate, Mode
    from paceline.lab.parts import Parts

GAMMAS = (1, 2, 3, 4, 5, 6, 8)
LOOKUP = "lookup"
LOOKUP_GAMMA = 8
CONFIGURED = "config"
ADAPTIVE = ("online", "thompson")


@runtime_checkable
class HasReferences(Protocol):
    """A target whose own library can decode too; optional."""

    def reference_modes(self, draft: Draft | None) -> Mapping[str, Generate]:
        """Return the library's own ways to decode, by name; the first one decodes plainly.

        Args:
            draft: The first draft of the run, for a way that takes one; ways that cannot use it are left out.

        Each way takes the prompt's tokens and the most new tokens wanted, and returns the new tokens. It ends
        where the target's sessions would: at the tokens of `eos`, which belong to the text, and at the limit.
        """
        ...


@dataclass(slots=True)
class Choice:
    """The modes of a bench, in the order of the table, and what is special about some of them.

    Attributes:
        static: Those that plan one gamma throughout with the run's own drafts.
        reference: The target library's plain decoding, if it has one.
        policies: The full configuration of each mode that runs in our loop.
    """

    modes: dict[str, Mode] = field(default_factory=dict)
    static: list[str] = field(default_factory=list)
    reference: str | None = None
    policies: dict[str, dict[str, Any]] = field(default_factory=dict)


def references(parts: Parts) -> dict[str, Generate]:
    """Return the ways to decode that the target's own library offers."""
    if not isinstance(parts.target, HasReferences):
        return {}
    return dict(parts.target.reference_modes(next(iter(parts.drafts.values()), None)))


def default_names(parts: Parts, catalogue: Catalogue) -> list[str]:
    """Return what runs when nobody says otherwise."""
    names = [BASE, *(static_name(gamma) for gamma in GAMMAS)]
    configured = parts.config.policy.model_dump()
    usual = [name for name in ADAPTIVE if name in catalogue.policies]
    if all(parse_policy(name, catalogue).model_dump() != configured for name in (*names[1:], *usual)):
        names.append(CONFIGURED)
    names += usual
    if "prompt-lookup" in catalogue.backends:
        names.append(LOOKUP)
    return [*names, *references(parts)]


def choose(parts: Parts, catalogue: Catalogue, names: Sequence[str] | None = None) -> Choice:
    """Make a mode of each name; plain decoding is always among them.

    Raises:
        ConfigError: A name is given twice, or is neither a policy nor a mode.
        BackendError, CapabilityError: A mode does not fit the target or the drafts.
    """
    offered = references(parts)
    wanted = list(names) if names else default_names(parts, catalogue)
    if len(set(wanted)) < len(wanted):
        raise ConfigError(f"each mode can run once; found {', '.join(wanted)}")
    choice = Choice()
    for name in (BASE, *(name for name in wanted if name != BASE)):
        if name in offered:
            choice.modes[name] = ReferenceMode(name, offered[name])
            choice.reference = next(iter(offered)) if next(iter(offered)) in wanted else None
        else:
            choice.modes[name] = _loop_mode(name, parts, catalogue, choice)
    return choice


def _loop_mode(name: str, parts: Parts, catalogue: Catalogue, choice: Choice) -> LoopMode:
    if name == BASE:
        return LoopMode(name, plain_decoder(parts, catalogue))
    drafts = parts.drafts
    if name == CONFIGURED:
        policy = parts.config.policy
    elif name == LOOKUP:
        policy = parse_policy(static_name(LOOKUP_GAMMA), catalogue)
        drafts = {LOOKUP: _lookup(catalogue).build_draft(parts.target)}
    else:
        policy = parse_policy(name, catalogue)
        if STATIC.fullmatch(name):
            choice.static.append(name)
    choice.policies[name] = policy.model_dump(mode="json")
    return LoopMode(name, parts.under(policy, drafts))


def _lookup(catalogue: Catalogue) -> BackendConfig:
    return TypeAdapter[BackendConfig](DraftBackend).validate_python(
        "prompt-lookup", context={CONTEXT: catalogue}
    )
