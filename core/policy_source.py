"""Where a decoder's policies come from: one for all requests or one for each, taught before and saved afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from paceline.core.guard import admit
from paceline.core.members import has, requires_of
from paceline.core.state.lesson import remember, taught

if TYPE_CHECKING:
    from paceline.core.protocols import Policy
    from paceline.core.state.lesson import Lesson


class PolicySource:
    """The policy, or what makes one for each request; a class counts as what makes one.

    Args:
        policy: A policy, or a function without arguments that returns a fresh one.
        fits: Raises `CapabilityError` for a policy that does not fit the engine.
        memory: As for `SpeculativeDecoder`. Policies without `state_dict` are never shown to it.
        fallback: Whether what a policy breaks is logged, and texts go on without what it broke.

    Raises:
        CapabilityError: The policy does not fit.
        ContractError: It cannot be made, lacks a member, or cannot be taught or saved.

    Attributes:
        policy: The one at work.
        perplexity: Whether it wants to know that of the prompt.
    """

    def __init__(
        self,
        policy: Policy | Callable[[], Policy],
        *,
        fits: Callable[[Policy], None],
        memory: Callable[[Policy], Lesson] | None,
        fallback: bool,
    ) -> None:
        makes = callable(policy) and (isinstance(policy, type) or not has(policy, "plan"))
        self._fresh = cast("Callable[[], Policy]", policy) if makes else None
        self._memory = memory
        self._fallback = fallback
        given = cast("Policy", policy)
        self._fits = fits
        self.perplexity = False
        self.policy: Policy = admit(self._fresh or (lambda: given), self._look, fallback=fallback)
        self._lesson = None if self._fresh is not None else self._taught(self.policy)

    @contextmanager
    def request(self) -> Iterator[Policy]:
        """Yield the policy of a request; one that was made for it is saved afterwards."""
        lesson = None
        if self._fresh is not None:
            self.policy = admit(self._fresh, self._look, fallback=self._fallback)
            lesson = self._taught(self.policy)
        try:
            yield self.policy
        finally:
            self._save(lesson)

    def save(self) -> None:
        """Save what the policy of all requests has learnt."""
        self._save(self._lesson)

    def _look(self, policy: Policy) -> None:
        self.perplexity = requires_of(policy).perplexity
        self._fits(policy)

    def _taught(self, policy: Policy) -> Lesson | None:
        return None if self._memory is None else taught(self._memory, policy, fallback=self._fallback)

    def _save(self, lesson: Lesson | None) -> None:
        if lesson is not None:
            remember(lesson.save, self.policy, "what was learnt is lost", fallback=self._fallback)
