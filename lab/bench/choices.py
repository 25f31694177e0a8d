"""Choice of the modes of a bench: from names on the command line to something that decodes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from paceline.core.plugins.catalogue import build_draft
from paceline.core.sampling import check_sampling
from paceline.lab.bench.run import BASE, LoopMode, ReferenceMode
from paceline.lab.replay.policy_code import Fingerprints
from paceline.lab.short_names import (
    CONFIGURED,
    LOOKUP,
    draft_named,
    installed,
    parse_policy,
    plain_decoder,
    select,
    static_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from paceline.core.config.blocks import Generate
    from paceline.core.plugins.catalogue import Catalogue
    from paceline.lab.bench.run import Mode
    from paceline.lab.models import Models

GAMMAS = (1, 2, 3, 4, 5, 6, 8)
FURTHER_GAMMAS = (2, 4, 8)
"""Tried with every draft after the first, so that the best static gamma is not merely that of one draft."""

LOOKUP_GAMMA = 8
ADAPTIVE = ("online", "survival", "auto")


@dataclass(slots=True)
class Choice:
    """The modes of a bench, in the order of the table, and what is special about some of them.

    Attributes:
        static: Those that plan one gamma throughout with the run's own drafts.
        reference: The target library's plain decoding, if it has one.
        policies: The full configuration of each mode that runs in our loop.
        code: A fingerprint of its code, likewise.
        left_out: Modes that nobody asked for by name and that do not fit, with the reason.
        first_backend: The backend that the others are compared with, where several run the same models.
        twins: For modes on the other backends, the same mode on the first.
    """

    modes: dict[str, Mode] = field(default_factory=dict)
    static: list[str] = field(default_factory=list)
    reference: str | None = None
    policies: dict[str, dict[str, Any]] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    first_backend: str | None = None
    twins: dict[str, str] = field(default_factory=dict)


def references(models: Models) -> dict[str, Generate]:
    """Return the ways to decode that the target's own library offers."""
    check_sampling(models.target, models.config.generation.sampling())
    draft = next(iter(models.drafts.values()), None)
    return dict(models.config.target.reference_modes(models.config, models.target, draft))


def default_names(models: Models, catalogue: Catalogue, offered: Iterable[str]) -> list[str]:
    """Return what runs when nobody says otherwise."""
    names = [BASE, *(static_name(gamma) for gamma in GAMMAS)]
    for draft in list(models.drafts)[1:]:
        names += [f"{static_name(gamma)}:draft={draft}" for gamma in FURTHER_GAMMAS]
    configured = models.config.policy.model_dump()
    usual = [name for name in ADAPTIVE if name in catalogue.policies]
    if all(parse_policy(name, catalogue).model_dump() != configured for name in (*names[1:], *usual)):
        names.append(CONFIGURED)
    names += usual
    if "prompt-lookup" in catalogue.backends:
        names.append(LOOKUP)
    return [*names, *offered]


def every_name(models: Models, catalogue: Catalogue, offered: Iterable[str]) -> list[str]:
    """Return the default modes and, before the library's own, every other policy that is installed."""
    usual, ends = default_names(models, catalogue, offered), {LOOKUP, *offered}
    others = [name for name in installed(catalogue) if name not in usual]
    return [*(n for n in usual if n not in ends), *others, *(n for n in usual if n in ends)]


def choose(models: Models, catalogue: Catalogue, names: Sequence[str] | None = None) -> Choice:
    """Make a mode of each name; plain decoding is always among them.

    What was asked for by name must fit. What `all` and the default list bring along is left out where it does not.

    Raises:
        ConfigError: A name is given twice, or is neither a policy nor a mode.
        BackendError, CapabilityError: A mode does not fit the target or the drafts.
    """
    offered = references(models)
    choice, fingerprints = Choice(), Fingerprints(catalogue)

    def make(name: str) -> Mode:
        if name in offered:
            return ReferenceMode(name, offered[name])
        return _loop_mode(name, models, fingerprints, choice)

    selection = select(
        names or (),
        make,
        base=BASE,
        usual=lambda: default_names(models, catalogue, offered),
        every=lambda: every_name(models, catalogue, offered),
        drafts=list(models.drafts),
        strict=True,
    )
    choice.modes, choice.left_out = selection.made, selection.left_out
    choice.reference = next((name for name in list(offered)[:1] if name in selection.made), None)
    return choice


def _loop_mode(name: str, models: Models, fingerprints: Fingerprints, choice: Choice) -> LoopMode:
    catalogue = fingerprints.catalogue
    if name == BASE:
        return LoopMode(name, plain_decoder(models, catalogue))
    drafts = models.drafts
    if name == CONFIGURED:
        policy = models.config.policy
    elif name == LOOKUP:
        policy = parse_policy(static_name(LOOKUP_GAMMA), catalogue)
        drafts = {LOOKUP: build_draft(draft_named(LOOKUP, catalogue), models.target)}
    else:
        policy = parse_policy(name, catalogue)
    mode = LoopMode(name, models.under(policy, drafts))
    choice.policies[name] = policy.model_dump(mode="json")
    choice.code[name] = fingerprints.of(policy)
    if policy.name == "static" and drafts is models.drafts:
        choice.static.append(name)
    return mode
