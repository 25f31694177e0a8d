"""`StateKey`: the models, the machine and the policy that knowledge belongs to.

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

from paceline.core.config.blocks import PolicyConfig
from paceline.core.environment import cpu_model
from paceline.core.optional_protocols import Identified

if TYPE_CHECKING:
    from paceline.core.config.blocks import BackendConfig
    from paceline.core.config.run import RunConfig
    from paceline.core.protocols import Draft, Target


@dataclass(frozen=True, slots=True)
class StateKey:
    """Key that something learnt is kept under, in a state file and by whoever pools replicas.

    Attributes:
        name: The policy's name and a hash of everything in `about`.
        about: The same in words, as JSON-able values.
    """

    name: str
    about: Mapping[str, Any]

    @classmethod
    def of(cls, policy: str, about: Mapping[str, Any]) -> StateKey:
        """Return the key of what a policy learnt.

        Args:
            policy: The policy's name.
            about: The models, and the machine where it matters; what JSON has no form for counts as its text.
        """
        text = json.dumps({"policy": policy, **about}, sort_keys=True, default=str)
        return cls(f"{policy}-{hashlib.sha256(text.encode()).hexdigest()[:16]}", json.loads(text))

    @classmethod
    def of_run(cls, config: RunConfig, target: Target, drafts: Mapping[str, Draft]) -> StateKey:
        """Return the key of what the policy of a run learns: its `about` has `policy`, `target`, `drafts`, `machine`.

        The order of the drafts counts, since many policies use the first one.
        """
        return cls.of(
            policy_name(config.policy),
            {
                "target": _identity(target, config.target),
                "drafts": [[name, _identity(draft, config.drafts[name])] for name, draft in drafts.items()],
                "machine": cpu_model(),
            },
        )


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
        return (policy for below in value.values() for policy in _held(below))
    if isinstance(value, list | tuple):
        return (policy for below in value for policy in _held(below))
    return ()


def _identity(model: Target | Draft, config: BackendConfig) -> str:
    """Return what a model says of itself, or else how it was configured."""
    if isinstance(model, Identified):
        return model.identity
    return json.dumps(config.model_dump(mode="json"), sort_keys=True)
