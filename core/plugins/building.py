"""Making what a configuration block describes: what goes wrong there names the plugin's class."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from paceline.core.blame import INTERRUPTS, blame, shown
from paceline.core.errors import PacelineError, PluginError
from paceline.core.members import check_members
from paceline.core.plugins.loading import Broken, describe

if TYPE_CHECKING:
    from paceline.core.config.blocks import BackendConfig, PolicyConfig
    from paceline.core.plugins.catalogue import Catalogue
    from paceline.core.protocols import Draft, Policy, Target

T = TypeVar("T")


def build_policy(config: PolicyConfig, seed: int = 0) -> Policy:
    """Return a fresh policy.

    Raises:
        PluginError: `build` raised something that is no error of paceline's, or returned None.
        ContractError: The policy lacks what it must have.
    """
    policy = _made(f"policy {config.name!r}", config, "build", lambda: config.build(seed))
    check_members(policy)
    return policy


def lame_policies(catalogue: Catalogue) -> tuple[Broken, ...]:
    """Build each policy that needs no options; return what is wrong with those that fail or lack a member."""
    lame = []
    for entry in catalogue.policies.values():
        if any(field.is_required() for field in entry.config.model_fields.values()):
            continue
        try:
            build_policy(entry.config.model_validate({}))
        except (PacelineError, ValidationError) as error:
            lame.append(Broken(entry.entry_point, entry.distribution, describe(error)))
    return tuple(lame)


def build_target(config: BackendConfig) -> Target:
    """Return a target, its model loaded.

    Raises:
        BackendError: The model cannot be loaded.
        PluginError: `build_target` raised something that is no error of paceline's, or returned None.
    """
    return _made(f"backend {config.backend!r}", config, "build_target", config.build_target)


def build_draft(config: BackendConfig, target: Target) -> Draft:
    """Return a draft for a target, its model loaded.

    Raises:
        BackendError: The model cannot be loaded, or does not fit the target.
        PluginError: `build_draft` raised something that is no error of paceline's, or returned None.
    """
    return _made(f"backend {config.backend!r}", config, "build_draft", lambda: config.build_draft(target))


def _made(what: str, config: object, method: str, make: Callable[[], T]) -> T:
    try:
        made = make()
    except (*INTERRUPTS, PacelineError):
        raise
    except BaseException as error:
        raise PluginError(f"{what} of {blame(config)}: {method}() raised {shown(error)}") from error
    if made is None:
        raise PluginError(f"{what} of {blame(config)}: {method}() returned None")
    return made
