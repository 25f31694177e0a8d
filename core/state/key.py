"""What knowledge is about: which target and drafts, on which machine, under which policy.

What was learnt about one pair of models says nothing about another, and the times of one device nothing about those of
another. So knowledge is kept under a key that names all of them, and is never looked up under a key that merely
resembles it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from paceline.core.abilities import Identified
from paceline.core.config.blocks import PolicyConfig
from paceline.core.machine import cpu_model

if TYPE_CHECKING:
    from paceline.core.config.blocks import BackendConfig
    from paceline.core.config.run import RunConfig
    from paceline.core.protocols import Draft, Target


@dataclass(frozen=True, slots=True)
class StateKey:
    """What something was learnt about.

    Attributes:
        name: The policy's name and a hash of everything in `about`.
        about: The same in words, as JSON-able values.
    """

    name: str
    about: Mapping[str, Any]


def state_key(config: RunConfig, target: Target, drafts: Mapping[str, Draft]) -> StateKey:
    """Return what the policy of a run learns about.

    The order of the drafts counts, since many policies use the first one.
    """
    about = {
        "policy": policy_name(config.policy),
        "target": _identity(target, config.target),
        "drafts": [[name, _identity(draft, config.drafts[name])] for name, draft in drafts.items()],
        "machine": cpu_model(),
    }
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    return StateKey(f"{about['policy']}-{digest[:16]}", about)


def policy_name(config: PolicyConfig) -> str:
    """Return the name of a policy, with the policies that it holds and the only draft it uses, if it is given one.

    Its other options are left out: knowledge outlives a change of options, unless the policy itself refuses it.
    """
    parts = [policy_name(held) for name in type(config).model_fields for held in _held(getattr(config, name))]
    draft = getattr(config, "draft", None)
    if isinstance(draft, str):
        parts.append(f"draft={draft}")
    return f"{config.name}({', '.join(parts)})" if parts else config.name


def _held(value: object) -> Iterable[PolicyConfig]:
    if isinstance(value, PolicyConfig):
        return (value,)
    if isinstance(value, Mapping):
        return (held for one in value.values() for held in _held(one))
    if isinstance(value, list | tuple):
        return (held for one in value for held in _held(one))
    return ()


def _identity(model: Target | Draft, config: BackendConfig) -> str:
    """Return what a model says of itself, or else how it was configured."""
    if isinstance(model, Identified):
        return model.identity
    return json.dumps(config.model_dump(mode="json"), sort_keys=True)
