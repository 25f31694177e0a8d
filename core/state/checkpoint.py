"""Restoring a policy to what is known, and keeping what it adds."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from paceline.core.abilities import Mergeable
from paceline.core.blame import INTERRUPTS, blame, shown, words
from paceline.core.errors import ContractError, PacelineError
from paceline.core.forks import tell_of_forks
from paceline.core.members import breach, has
from paceline.core.state.entry import Entry, check_statistics, pooled

if TYPE_CHECKING:
    from paceline.core.costs import LiveCosts
    from paceline.core.protocols import Policy
    from paceline.core.state.file import StateFile
    from paceline.core.state.key import StateKey

log = structlog.get_logger()

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StateStore:
    """What is known under one key in a file. Call it with a fresh policy to teach that.

    Attributes:
        file: Where it is.
        subject: What it is about.
        costs: The cost model that learns beside the policy, and is taught and saved with it.
    """

    file: StateFile
    key: StateKey
    costs: LiveCosts | None = None

    def __call__(self, policy: Policy) -> StateCheckpoint:
        """Give a fresh policy what is known, and return what saves what it learns from now on."""
        known = self.file.read(self.key)
        refused: Entry | None = None
        if known is not None:
            try:
                known.restore(policy)
            except ValueError as error:
                self.file.warn_refused(self.key, error)
                known, refused = None, known
            except INTERRUPTS:
                raise
            except BaseException as error:
                raise breach(policy, f"being taught its state, it raised {shown(error)}") from error
        if known is not None and known.costs is not None and self.costs is not None:
            try:
                self.costs.load_state_dict(known.costs)
            except ValueError as error:
                log.warning(
                    "costs_refused",
                    file=str(self.file.path),
                    reason=words(error),
                    action="they are measured again",
                )
        return StateCheckpoint(self, policy, known, refused)


def restored(
    state_store: Callable[[Policy], StateCheckpoint], policy: Policy, *, fallback: bool
) -> StateCheckpoint | None:
    """Give a policy what is known, and return what saves what it learns; None for one that has no state.

    Under `fallback` a policy that cannot be taught goes on with what it has, and nothing of it is saved.
    """

    def restore() -> StateCheckpoint:
        checkpoint = state_store(policy)
        if not callable(getattr(checkpoint, "save", None)):
            raise TypeError(f"it returned {shown(checkpoint)}, which has no save()")
        return checkpoint

    if not has(policy, "state_dict"):
        return None
    return remember(restore, policy, "going on without what was learnt before", fallback=fallback)


def remember(ask: Callable[[], T], policy: Policy, otherwise: str, *, fallback: bool) -> T | None:
    """Return what a state store answers; None if it failed, under `fallback`.

    Raises:
        ContractError: It failed, without `fallback`; names the policy.
    """
    try:
        return ask()
    except INTERRUPTS:
        raise
    except BaseException as error:
        if not fallback:
            if isinstance(error, PacelineError):
                raise
            raise ContractError(
                f"state store of policy {blame(policy)}", f"it raised {shown(error)}"
            ) from error
        log.warning("state_store_failed", policy=blame(policy), error=words(error), action=otherwise)
        return None


class StateCheckpoint:
    """What one policy knew when it was taught; later, what it has learnt since.

    Args:
        state_store: Where it goes.
        policy: The policy, just taught.
        known: What it was taught from.
        refused: What it could not be taught from.

    Raises:
        ContractError: The policy does not tell its state, or it is not JSON-able.
    """

    def __init__(
        self, state_store: StateStore, policy: Policy, known: Entry | None, refused: Entry | None
    ) -> None:
        self._state_store = state_store
        self._policy = policy
        self._known = known
        self._refused = refused
        self._alone = (
            True  # so far nobody else has written about the key, so the policy knows all that is known
        )
        try:
            self._before = self._learnt()
        except INTERRUPTS:
            raise
        except BaseException as error:
            raise breach(policy, f"its state cannot be saved: {words(error)}") from error
        tell_of_forks(self)

    def forked(self) -> None:
        """Leave what was learnt until now to the parent, which saves it; a child adds what it learns itself."""
        self._before = self._learnt()

    def save(self) -> None:
        """Write what was learnt since the last time; nothing, if nothing was. Problems are logged, never raised.

        Sums are added to what others have saved meanwhile. Where a policy has none, the latest state replaces all.
        """
        state_store = self._state_store
        try:
            state, sums = self._learnt()
            if (state, sums) == self._before:
                return
            if sums is not None:
                check_statistics(sums)
            written = state_store.file.update(
                state_store.key, lambda now: self._merged(now, state, sums), unusable=self._refused
            )
        except INTERRUPTS:
            raise
        except BaseException as error:  # noqa: BLE001 - a policy or disk that fails costs knowledge, never a text
            state_store.file.warn_unsaved(state_store.key, error)
            return
        self._known, self._refused, self._before = written, None, (state, sums)

    def _merged(self, now: Entry | None, state: dict[str, Any], sums: dict[str, float] | None) -> Entry:
        costs = None if self._state_store.costs is None else self._state_store.costs.state_dict()
        if sums is None:
            return Entry(state, costs=costs)
        self._alone = self._alone and now == self._known
        there = now.statistics if now is not None and now.statistics is not None else {}
        return Entry(state if self._alone else None, pooled(there, sums, self._before[1] or {}), costs)

    def _learnt(self) -> tuple[dict[str, Any], dict[str, float] | None]:
        """Return state and sums as they read back from JSON, so that they compare equal to what is in a file."""
        policy = self._policy
        state = json.loads(json.dumps(policy.state_dict(), allow_nan=False))
        sums = (
            json.loads(json.dumps(policy.export(), allow_nan=False))
            if isinstance(policy, Mergeable)
            else None
        )
        return state, sums
