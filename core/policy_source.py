"""Where a decoder's policies come from: one for all requests or one for each, restored before and saved afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from paceline.core.guard import admit
from paceline.core.members import has, requires_of
from paceline.core.state.checkpoint import attempt, restored

if TYPE_CHECKING:
    from paceline.core.protocols import Policy
    from paceline.core.state.checkpoint import Restore, StateCheckpoint


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
        makes = callable(policy) and (isinstance(policy, type) or not has(policy, "plan"))
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
        return None if self._restore is None else restored(self._restore, policy, fallback=self._fallback)

    def _save(self, checkpoint: StateCheckpoint | None) -> None:
        if checkpoint is not None:
            attempt(checkpoint.save, self.policy, "what was learnt is lost", fallback=self._fallback)
