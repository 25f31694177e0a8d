"""A run as replicas run it: what their policy forgets is left to the hub, and what they cannot share is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from paceline import Catalogue, ConfigError, PacelineError, PolicyConfig, RunConfig, Shareable, load_config

FADING = ("discount", "idle_discount")
"""Options by which built-in policies forget."""


def replica_run(source: Path | str | Mapping[str, Any] | None, *, sharing: bool = True) -> RunConfig:
    """Return the run that each replica is to build.

    A policy that fails costs speed and never a request, unless the file says otherwise.

    Args:
        source: As for `paceline.load_config`.
        sharing: Whether replicas share what they learn.

    Raises:
        ConfigError: The run is not valid, or cannot be shared.
    """
    config = load_config(source)
    changes: dict[str, Any] = {}
    if "on_policy_error" not in config.model_fields_set:
        changes["on_policy_error"] = "fallback"
    if sharing:
        if config.scope == "request":
            raise ConfigError(
                "scope: request makes a policy for each request, and replicas share what one policy learns; "
                "leave `scope` out, or do not share"
            )
        if config.state is not None:
            raise ConfigError(
                f"state: {config.state} would be written by every replica, beside the hub that keeps what all "
                "have learnt; leave `state` out and name a folder for the hub"
            )
        changes["policy"] = remembering(config.policy)
    return config.model_copy(update=changes)


def remembering(policy: PolicyConfig) -> PolicyConfig:
    """Return the same policy without forgetting, which is the hub's task when replicas share.

    Raises:
        ConfigError: The policy cannot share what it learns, or is told to forget.
    """
    fading = [name for name in FADING if name in type(policy).model_fields]
    for name in fading:
        value = getattr(policy, name)
        if name in policy.model_fields_set and value != 1:
            raise ConfigError(
                f"policy.{name}: {value} lets every replica forget by itself, what others have learnt included; "
                "leave it out: where replicas share, the hub forgets, by its half-life"
            )
    try:
        steady = type(policy).model_validate(policy.model_dump() | dict.fromkeys(fading, 1.0))
        shareable = isinstance(steady.build(0), Shareable)
    except ValidationError:
        shareable = False
    if not shareable:
        raise ConfigError(
            f"policy {policy.name!r} cannot share what it learns; policies that can: {', '.join(shareable_names())}"
        )
    return steady


def shareable_names() -> list[str]:
    """Return the names of the installed policies whose knowledge replicas can share."""
    found = []
    for name, entry in Catalogue.load().policies.items():
        try:
            policy = entry.config.model_validate({"name": name}).build(0)
        except (ValidationError, PacelineError):
            continue
        if isinstance(policy, Shareable):
            found.append(name)
    return found
