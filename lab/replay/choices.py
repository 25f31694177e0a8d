"""Choice of the policies of a replay: from names on the command line to blocks that any process can build."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from paceline.core.config.blocks import PolicyConfig
from paceline.core.config.resolve import CONTEXT, AnyPolicy
from paceline.core.errors import CapabilityError, ConfigError
from paceline.core.guards.policy import needs_of
from paceline.core.plugins.catalogue import build_policy
from paceline.lab.replay.policy_code import Fingerprints
from paceline.lab.replay.simulator import Simulator
from paceline.lab.replay.static_gamma import StaticGamma, static_gammas
from paceline.lab.short_names import (
    CONFIGURED,
    installed,
    parse_policy,
    reasons,
    select,
    short_name,
    static_label,
    static_name,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paceline.core.plugins.catalogue import Catalogue
    from paceline.lab.recording.model import Header

STATIC = "static"


@dataclass(slots=True)
class Chosen:
    """Policies that are tried, by label, in the order of the table.

    Attributes:
        policies: The block of each policy, as JSON-able values.
        code: Likewise, the fingerprint of its code.
        static: Those that plan one gamma throughout, and chains.
        left_out: What cannot be tried, with the reason.
        refused: Of these, what was asked for by name.
    """

    policies: dict[str, dict[str, Any]] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)
    static: dict[str, StaticGamma] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)


def choose(
    header: Header,
    catalogue: Catalogue,
    policies: Sequence[str | PolicyConfig] = (),
    *,
    configured: PolicyConfig | None = None,
) -> Chosen:
    """Return what is tried of these policies, of `all` by default: every policy installed and every static choice.

    Plain decoding is always among them. `config` stands for the policy of a run file, where there is one.

    Raises:
        ConfigError: A name is given twice, or there is no such policy or option.
    """

    def every() -> list[str]:
        static = [label_of(each, header) for each in static_gammas(header)]
        return [*static, *([CONFIGURED] if configured is not None else []), *installed(catalogue)]

    configs = {short_name(policy): policy for policy in policies if isinstance(policy, PolicyConfig)}
    names = [short_name(policy) if isinstance(policy, PolicyConfig) else policy for policy in policies]

    def make(name: str) -> PolicyConfig:
        if name in configs:
            config = build(configs[name].model_dump(mode="json"), catalogue)
        else:
            config = _config(name, catalogue, configured)
        _check(config, header)
        return config

    selection = select(
        names, make, base=static_name(0), usual=every, every=every, drafts=list(header.drafts), strict=False
    )
    blocks = {name: config.model_dump(mode="json") for name, config in selection.made.items()}
    static = {
        name: _choice(blocks[name], header)
        for name, config in selection.made.items()
        if config.name == STATIC and not blocks[name]["nodes"]
    }
    fingerprints = Fingerprints(catalogue)
    code = {name: fingerprints.of(config) for name, config in selection.made.items()}
    return Chosen(blocks, code, static, selection.left_out, selection.refused)


def label_of(static: StaticGamma, header: Header) -> str:
    """Return what tables call a static choice: `static-4`, with the draft where it is not the first one."""
    return static_label(static.gamma, static.draft, next(iter(header.drafts), None))


def build(block: Mapping[str, Any], catalogue: Catalogue) -> PolicyConfig:
    """Return the configuration of a policy's block.

    Raises:
        ConfigError: It is not one of a policy that is installed.
    """
    try:
        return TypeAdapter[PolicyConfig](AnyPolicy).validate_python(dict(block), context={CONTEXT: catalogue})
    except ValidationError as error:
        raise ConfigError(f"policy {block.get('name')!r}: {reasons(error)}") from None


def _config(name: str, catalogue: Catalogue, configured: PolicyConfig | None) -> PolicyConfig:
    if name != CONFIGURED:
        return parse_policy(name, catalogue)
    if configured is None:
        raise ConfigError("`config` is the policy of a run file; name the file with --config")
    return configured


def _check(config: PolicyConfig, header: Header) -> None:
    """Refuse a policy that cannot be tried on a recording, as far as that is known beforehand.

    Raises:
        CapabilityError: Says why.
    """
    policy, values = build_policy(config), config.model_dump()
    if needs_of(policy) and header.run.get("signals") is False:
        signals = ", ".join(sorted(needs_of(policy)))
        raise CapabilityError(
            f"it looks at {signals}, and no signals were recorded; record without --no-signals"
        )
    Simulator(header, policy)
    gamma = values.get("gamma", 0) if config.name == STATIC else 0
    if gamma > header.longest:
        raise CapabilityError(
            f"it plans {gamma} tokens, and drafts were asked for {header.longest} at most while recording; record with "
            f"--longest {gamma}"
        )
    draft = values.get("draft")
    if isinstance(draft, str) and draft not in header.drafts:
        raise CapabilityError(
            f"its draft {draft!r} was not recorded; the drafts are {', '.join(header.drafts)}"
        )


def _choice(block: Mapping[str, Any], header: Header) -> StaticGamma:
    gamma = int(block["gamma"])
    return StaticGamma(
        gamma, (block["draft"] or next(iter(header.drafts))) if gamma and header.drafts else None
    )
