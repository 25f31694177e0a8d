"""Scopes: a policy for each request, for each decoder, or one for all decoders of the process.

Wherever a policy comes from, it is restored before its first round and saved after its last.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast
from weakref import WeakValueDictionary

from paceline.core.costs import LiveCosts
from paceline.core.forking import ForkSafeLock
from paceline.core.guards.policy import admit, has_member, requires_of
from paceline.core.plugins.catalogue import build_policy
from paceline.core.state.checkpoint import StateCheckpoint, open_checkpoint, run_guarded
from paceline.core.state.key import StateKey
from paceline.core.state.store import StateStore

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paceline.core.config.run import RunConfig
    from paceline.core.protocols import Draft, Policy, Target
    from paceline.core.state.checkpoint import Restore


class PolicySource:
    """The policy, or what makes one for each request; a class counts as what makes one.

    Args:
        policy: A policy, or a function without arguments that returns a fresh one.
        fits: Raises `CapabilityError` for a policy that does not fit the engine.
        restore: As for `SpeculativeDecoder`. Policies without `state_dict` are never shown to it.
        fallback: Whether what a policy breaks is logged, and texts go on without what it broke.

    Raises:
        CapabilityError: The policy does not fit.
        ContractError: It cannot be made, lacks a member, or cannot be restored or saved.

    Attributes:
        policy: The one at work.
        perplexity: Whether it wants to know that of the prompt.
    """

    def __init__(
        self,
        policy: Policy | Callable[[], Policy],
        *,
        fits: Callable[[Policy], None],
        restore: Restore | None,
        fallback: bool,
    ) -> None:
        makes = callable(policy) and (isinstance(policy, type) or not has_member(policy, "plan"))
        self._fresh = cast("Callable[[], Policy]", policy) if makes else None
        self._restore = restore
        self._fallback = fallback
        given = cast("Policy", policy)
        self._fits = fits
        self.perplexity = False
        self.policy: Policy = admit(self._fresh or (lambda: given), self._look, fallback=fallback)
        self._checkpoint = None if self._fresh is not None else self._restored(self.policy)

    @contextmanager
    def request(self) -> Iterator[Policy]:
        """Yield the policy of a request; one that was made for it is saved afterwards."""
        checkpoint = None
        if self._fresh is not None:
            self.policy = admit(self._fresh, self._look, fallback=self._fallback)
            checkpoint = self._restored(self.policy)
        try:
            yield self.policy
        finally:
            self._save(checkpoint)

    def save(self) -> None:
        """Save what the policy of all requests has learnt."""
        self._save(self._checkpoint)

    def _look(self, policy: Policy) -> None:
        self.perplexity = requires_of(policy).perplexity
        self._fits(policy)

    def _restored(self, policy: Policy) -> StateCheckpoint | None:
        return (
            None if self._restore is None else open_checkpoint(self._restore, policy, fallback=self._fallback)
        )

    def _save(self, checkpoint: StateCheckpoint | None) -> None:
        if checkpoint is not None:
            run_guarded(checkpoint.save, self.policy, "what was learnt is lost", fallback=self._fallback)


@dataclass(frozen=True, slots=True)
class ScopedPolicy:
    """Parts that a decoder learns with.

    Attributes:
        policy: A policy, or what makes one for each request.
        restore: Gives a policy what is known, and returns what saves what it learns.
        turn: Entered around each round; None where the policy has one decoder.
        costs: The cost model, with what was kept of an earlier one; None for a fresh one.
    """

    policy: Policy | Callable[[], Policy]
    restore: Restore | None = None
    turn: AbstractContextManager[object] | None = None
    costs: LiveCosts | None = None


class SharedPolicy(ForkSafeLock):
    """One policy of several decoders, with its costs. Entered, it is at work for one of them, and the others wait.

    A policy may remember its plan until it has seen what came of it, so a round must not begin within another one.
    """

    def __init__(self, policy: Policy, known: Restore | None, costs: LiveCosts, *, fallback: bool) -> None:
        super().__init__()
        self.policy, self.costs = policy, costs
        self.checkpoint = None if known is None else open_checkpoint(known, policy, fallback=fallback)


# The one thing that a process has in common. A policy is forgotten with the last decoder that uses it.
_shared: WeakValueDictionary[str, SharedPolicy] = WeakValueDictionary()
_sharing = ForkSafeLock()


def scoped_policy(config: RunConfig, target: Target, drafts: Mapping[str, Draft]) -> ScopedPolicy:
    """Return what a decoder of this run learns with."""
    fresh = partial(build_policy, config.policy, config.generation.seed)
    fallback = config.on_policy_error == "fallback"
    made = partial(admit, fresh, lambda _policy: None, fallback=fallback)
    costs = LiveCosts()
    if config.state is None and config.scope != "process":
        return ScopedPolicy(fresh if config.scope == "request" else made(), costs=costs)
    key = StateKey.of_run(config, target, drafts)
    store = None if config.state is None else StateStore(config.state)
    if store is not None:
        store.repair()
    known = None if store is None else partial(StateCheckpoint, store, key, costs)
    if config.scope == "process":
        file = None if store is None else str(store.path)
        options = config.policy.model_dump(mode="json")
        same = json.dumps([key.about, options, config.generation.seed, file], sort_keys=True)
        shared = _share(same, lambda: SharedPolicy(made(), known, costs, fallback=fallback))
        checkpoint = shared.checkpoint
        return ScopedPolicy(
            shared.policy, None if checkpoint is None else (lambda _policy: checkpoint), shared, shared.costs
        )
    return ScopedPolicy(fresh if config.scope == "request" else made(), known, costs=costs)


def _share(key: str, make: Callable[[], SharedPolicy]) -> SharedPolicy:
    with _sharing:
        shared = _shared.get(key)
        if shared is None:
            shared = _shared[key] = make()
        return shared
