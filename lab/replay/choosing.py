"""Choice of the policies of a replay: from names on the command line to blocks that any process can build."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from paceline.core.config.blocks import PolicyConfig
from paceline.core.config.resolve import CONTEXT, AnyPolicy
from paceline.core.errors import CapabilityError, ConfigError, PacelineError
from paceline.core.guards.policy import needs_of
from paceline.core.plugins.catalogue import build_policy
from paceline.lab.policies import parse_policy, reasons, static_label, static_name
from paceline.lab.replay.sweep import Choice, choices
from paceline.lab.simulate import Simulator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paceline.core.plugins.catalogue import Catalogue
    from paceline.lab.recording.model import Header

EVERYTHING = "all"
CONFIGURED = "config"
STATIC = "static"


@dataclass(slots=True)
class Chosen:
    """Policies that are tried, by label, in the order of the table.

    Attributes:
        policies: The block of each policy, as JSON-able values.
        static: Those that plan one gamma throughout.
        left_out: What cannot be tried, with the reason.
        refused: Of these, what was asked for by name.
    """

    policies: dict[str, dict[str, Any]] = field(default_factory=dict)
    static: dict[str, Choice] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)


def choose(
    header: Header,
    catalogue: Catalogue,
    names: Sequence[str] = (),
    *,
    configured: PolicyConfig | None = None,
) -> Chosen:
    """Return what is tried of these names, of `all` by default: every policy installed and every static choice.

    Plain decoding is always among them. `config` stands for the policy of a run file, where there is one.

    Raises:
        ConfigError: A name is given twice, or there is no such policy or option.
    """
    asked = [name for name in names if name != EVERYTHING]
    if len(set(asked)) < len(asked):
        raise ConfigError(f"each policy can be tried once; found {', '.join(asked)}")
    wanted = [static_name(0), *asked]
    if not names or EVERYTHING in names:
        wanted = [*map(label_of, choices(header), [header] * len(choices(header)))]
        wanted += [CONFIGURED] if configured is not None else []
        wanted += [*sorted({*catalogue.policies, *catalogue.policy_clashes} - {STATIC}), *asked]
    chosen = Chosen()
    for name in dict.fromkeys(wanted):
        _add(name, chosen, header, catalogue, configured, by_name=name in asked)
    return chosen


def label_of(choice: Choice, header: Header) -> str:
    """Return what tables call a static choice: `static-4`, with the draft where it is not the first one."""
    return static_label(choice.gamma, choice.draft, next(iter(header.drafts), None))


def build(block: Mapping[str, Any], catalogue: Catalogue) -> PolicyConfig:
    """Return the configuration of a policy's block.

    Raises:
        ConfigError: It is not one of a policy that is installed.
    """
    try:
        return TypeAdapter[PolicyConfig](AnyPolicy).validate_python(dict(block), context={CONTEXT: catalogue})
    except ValidationError as error:
        raise ConfigError(f"policy {block.get('name')!r}: {reasons(error)}") from None


def _add(
    name: str,
    chosen: Chosen,
    header: Header,
    catalogue: Catalogue,
    configured: PolicyConfig | None,
    *,
    by_name: bool,
) -> None:
    """Add one policy if it can be tried; what nobody asked for by name may be told to keep to the first draft."""
    try:
        config = _config(name, catalogue, configured)
    except PacelineError as error:
        if by_name:
            raise
        chosen.left_out[name] = str(error)
        return
    reason = _problem(config, header)
    if reason is None:
        chosen.policies[name] = config.model_dump(mode="json")
        if config.name == STATIC:
            chosen.static[name] = _choice(chosen.policies[name], header)
        return
    chosen.left_out[name] = reason
    if by_name:
        chosen.refused.append(name)
    elif len(header.drafts) > 1 and "draft" in type(config).model_fields and name in catalogue.policies:
        told = f"{name}:draft={next(iter(header.drafts))}"
        config = parse_policy(told, catalogue)
        if _problem(config, header) is None:
            chosen.policies[told] = config.model_dump(mode="json")
            chosen.left_out[name] += f"; instead, {told!r} was tried"


def _config(name: str, catalogue: Catalogue, configured: PolicyConfig | None) -> PolicyConfig:
    if name != CONFIGURED:
        return parse_policy(name, catalogue)
    if configured is None:
        raise ConfigError("`config` is the policy of a run file; name the file with --config")
    return configured


def _problem(config: PolicyConfig, header: Header) -> str | None:
    """Return why a policy cannot be tried on a recording, as far as that is known beforehand."""
    policy = build_policy(config)
    if needs_of(policy) and header.run.get("signals") is False:
        asked = ", ".join(sorted(needs_of(policy)))
        return f"it looks at {asked}, and no signals were recorded; record without --no-signals"
    try:
        Simulator(header, policy)
    except CapabilityError as error:
        return str(error)
    gamma = config.model_dump().get("gamma", 0) if config.name == STATIC else 0
    if gamma > header.longest:
        return (
            f"it plans {gamma} tokens, and drafts were asked for {header.longest} at most while recording; record with "
            f"--longest {gamma}"
        )
    draft = config.model_dump().get("draft")
    if isinstance(draft, str) and draft not in header.drafts:
        return f"its draft {draft!r} was not recorded; the drafts are {', '.join(header.drafts)}"
    return None


def _choice(block: Mapping[str, Any], header: Header) -> Choice:
    gamma = int(block["gamma"])
    return Choice(gamma, (block["draft"] or next(iter(header.drafts))) if gamma and header.drafts else None)
