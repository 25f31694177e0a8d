"""Who learns with whom: a policy for each request, for each decoder, or one for all decoders of the process."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from paceline.core.costs import LiveCosts
from paceline.core.forks import ForkSafeLock
from paceline.core.guard import admit
from paceline.core.plugins.building import build_policy
from paceline.core.state.checkpoint import StateStore, restored
from paceline.core.state.file import StateFile
from paceline.core.state.key import state_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from paceline.core.config.run import RunConfig
    from paceline.core.protocols import Draft, Policy, Target
    from paceline.core.state.checkpoint import StateCheckpoint


@dataclass(frozen=True, slots=True)
class Learning:
    """What a decoder learns with.

    Attributes:
        policy: A policy, or what makes one for each request.
        state_store: Teaches a policy what is known, and returns what saves what it learns.
        turn: Entered around each round.
        costs: The cost model, with what was kept of an earlier one; None for a fresh one.
    """

    policy: Policy | Callable[[], Policy]
    state_store: Callable[[Policy], StateCheckpoint] | None = None
    turn: AbstractContextManager[object] = field(default_factory=nullcontext)
    costs: LiveCosts | None = None


class SharedPolicy(ForkSafeLock):
    """One policy of several decoders, with its costs. Entered, it is at work for one of them, and the others wait.

    A policy may remember its plan until it has seen what came of it, so a round must not begin within another one.
    """

    def __init__(
        self, policy: Policy, state_store: StateStore | None, costs: LiveCosts, *, fallback: bool
    ) -> None:
        super().__init__()
        self.policy, self.costs = policy, costs
        self.checkpoint = None if state_store is None else restored(state_store, policy, fallback=fallback)


# The one thing that a process has in common. A policy is forgotten with the last decoder that uses it.
_shared: WeakValueDictionary[str, SharedPolicy] = WeakValueDictionary()
_sharing = ForkSafeLock()


def learning(config: RunConfig, target: Target, drafts: Mapping[str, Draft]) -> Learning:
    """Return what a decoder of this run learns with."""
    fresh = partial(build_policy, config.policy, config.generation.seed)
    fallback = config.on_policy_error == "fallback"
    made = partial(admit, fresh, lambda _policy: None, fallback=fallback)
    about = (
        state_key(config, target, drafts) if config.state is not None or config.scope == "process" else None
    )
    costs = LiveCosts()
    state_store = (
        None if about is None or config.state is None else StateStore(StateFile(config.state), about, costs)
    )
    if about is not None and config.scope == "process":
        file = None if state_store is None else str(state_store.file.path)
        options = config.policy.model_dump(mode="json")
        key = json.dumps([about.name, options, config.generation.seed, file], sort_keys=True)
        shared = _share(key, lambda: SharedPolicy(made(), state_store, costs, fallback=fallback))
        checkpoint = shared.checkpoint
        return Learning(
            shared.policy, None if checkpoint is None else (lambda _policy: checkpoint), shared, shared.costs
        )
    return Learning(fresh if config.scope == "request" else made(), state_store, costs=costs)


def _share(key: str, make: Callable[[], SharedPolicy]) -> SharedPolicy:
    with _sharing:
        shared = _shared.get(key)
        if shared is None:
            shared = _shared[key] = make()
        return shared
