"""`StateCheckpoint`: gives a policy the state that was saved, and saves what it learns from then on.

What is kept of a policy is its state, its additive statistics, or both. Statistics are sums that several processes add
to. A state is everything that a policy knows, and is left out where it would not hold all of the statistics.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from paceline.core.errors import (
    INTERRUPTS,
    ContractError,
    PacelineError,
    defined_at,
    describe,
    error_text,
    short_repr,
)
from paceline.core.forking import register_forkable
from paceline.core.guards.policy import breach, has_member, load_state
from paceline.core.json_text import not_json
from paceline.core.log import log
from paceline.core.optional_protocols import Mergeable

if TYPE_CHECKING:
    from paceline.core.costs import LiveCosts
    from paceline.core.protocols import Policy
    from paceline.core.state.key import StateKey
    from paceline.core.state.store import StateStore


T = TypeVar("T")

FILE_REMEDY = "name a file in `state:` that can be written, or leave the key out"
POLICY_REMEDY = "mend the policy; paceline.testing.check_policy shows what is wrong"

Restore = Callable[["Policy"], "StateCheckpoint"]
"""Gives a fresh policy what is known, and returns the checkpoint that saves what it learns from then on."""


@dataclass(frozen=True, slots=True)
class SavedState:
    """Entry of one policy: its state or statistics or both, and the costs that it learnt beside."""

    state: Mapping[str, Any] | None = None
    statistics: Mapping[str, float] | None = None
    costs: Mapping[str, Any] | None = None

    @classmethod
    def from_json(
        cls, document: object, about: Mapping[str, Any], *, refused: SavedState | None = None
    ) -> SavedState:
        """Return an entry from its document in a store.

        Raises:
            ValueError: It is damaged, was learnt about something else, or is the one that was `refused`.
        """
        if not isinstance(document, dict):
            raise ValueError(f"the entry is {type(document).__name__}, not a mapping")  # noqa: TRY004 - callers catch ValueError
        if document.get("about") != about:
            raise ValueError("the entry was learnt about other models, drafts or hardware than its key says")
        state, statistics, costs = (document.get(name) for name in ("state", "statistics", "costs"))
        if state is None and statistics is None:
            raise ValueError("the entry holds neither state nor statistics")
        for name, part in (("state is", state), ("costs are", costs)):
            if part is not None and not isinstance(part, dict):
                raise ValueError(f"the {name} {type(part).__name__}, not a mapping")
        if statistics is not None:
            check_statistics(statistics)
        entry = cls(state, statistics, costs)
        if entry == refused:
            raise ValueError("the policy refused the entry")
        return entry

    def to_json(self, about: Mapping[str, Any]) -> dict[str, Any]:
        """Return the document for a store."""
        parts = {"state": self.state, "statistics": self.statistics, "costs": self.costs}
        return {"about": dict(about)} | {name: dict(part) for name, part in parts.items() if part is not None}

    def restore(self, policy: Policy) -> None:
        """Give a fresh policy what is known: its whole state, or else the statistics.

        A state may be refused for options that changed, where the statistics still mean something.

        Raises:
            ValueError: The policy refuses both.
        """
        statistics = self.statistics if isinstance(policy, Mergeable) else None
        if self.state is not None:
            try:
                load_state(policy, self.state)
            except ValueError:
                if statistics is None:
                    raise
            else:
                return
        if statistics is None:
            raise ValueError("it holds statistics, and this policy cannot take up any")
        assert isinstance(policy, Mergeable)
        policy.absorb(statistics)


def check_statistics(statistics: object) -> None:
    """Check that statistics are finite numbers by name.

    Raises:
        ValueError: They are not.
    """
    if not isinstance(statistics, dict):
        raise ValueError(f"the statistics are {type(statistics).__name__}, not a mapping")  # noqa: TRY004 - callers catch ValueError
    for name, value in statistics.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"the statistic {name!r} is {value!r}, not a finite number")


def pool_statistics(
    now: Mapping[str, float], own: Mapping[str, float], before: Mapping[str, float]
) -> dict[str, float]:
    """Return `now` + (`own` - `before`), name by name: what others added meanwhile, and what was gathered here.

    Sums that fade may have lost more than others added. What is a count in `now` and in `own` stays one: it does not
    fall below 0. Sums that may be negative by nature are left alone.
    """
    result = {}
    for name in now.keys() | own.keys() | before.keys():
        there, here, then = now.get(name, 0.0), own.get(name, 0.0), before.get(name, 0.0)
        total = here if there == then else there + (here - then)  # exact where nobody else wrote
        result[name] = max(total, 0.0) if there >= 0.0 and here >= 0.0 else total
    return {name: result[name] for name in sorted(result) if result[name]}


class StateCheckpoint:
    """A policy that is given what is known when this is made; what it learns from then on is saved by `save`.

    What cannot be used is logged, and the policy starts fresh.

    Args:
        store: The file that knows.
        key: The policy, the models and the machine.
        costs: The cost model that learns beside the policy, and is restored and saved with it.
        policy: The policy, which is fresh.

    Raises:
        ContractError: The policy fails while it is restored, does not tell its state, or one that is not JSON-able.
    """

    def __init__(self, store: StateStore, key: StateKey, costs: LiveCosts | None, policy: Policy) -> None:
        self._store = store
        self._key = key
        self._costs = costs
        self._policy = policy
        self._known: SavedState | None = None
        self._refused: SavedState | None = None
        # So far nobody else has written about the key, so the policy knows all that is known.
        self._alone = True
        self._restore()
        try:
            self._before = self._learnt()
        except INTERRUPTS:
            raise
        except BaseException as error:
            raise breach(policy, f"its state cannot be saved: {error_text(error)}") from error
        register_forkable(self)

    def _restore(self) -> None:
        try:
            document = self._store.read(self._key.name)
            known = None if document is None else SavedState.from_json(document, self._key.about)
        except (PacelineError, ValueError) as error:
            self._warn_refused(error)
            return
        if known is None:
            return
        try:
            known.restore(self._policy)
        except ValueError as error:
            self._refused = known
            self._warn_refused(error)
            return
        except INTERRUPTS:
            raise
        except BaseException as error:
            raise breach(self._policy, f"restoring its state, it raised {short_repr(error)}") from error
        self._known = known
        if known.costs is not None and self._costs is not None:
            try:
                self._costs.load_state_dict(known.costs)
            except ValueError as error:
                log.warning(
                    "costs_refused",
                    file=str(self._store.path),
                    reason=error_text(error),
                    action="they are measured again",
                )

    def _warn_refused(self, error: Exception) -> None:
        log.warning(
            "state_refused",
            file=str(self._store.path),
            key=self._key.name,
            reason=error_text(error),
            action="the policy starts fresh",
            remedy="name another file in `state:`, or put a good copy in its place; an entry that is replaced by what "
            "is learnt now is set aside in the table `refused`",
        )

    def forked(self) -> None:
        """Leave what was learnt until now to the parent, which saves it; a child adds what it learns itself."""
        self._before = self._learnt()

    def save(self) -> None:
        """Write what was learnt since the last time; nothing, if nothing was. Problems are logged, never raised.

        Sums are added to what others have saved meanwhile. Where a policy has none, the latest state replaces all.
        """
        about = self._key.about
        try:
            state, sums = self._learnt()
            if (state, sums) == self._before:
                return
            if sums is not None:
                check_statistics(sums)

            def add(document: object) -> dict[str, Any]:
                now = (
                    None if document is None else SavedState.from_json(document, about, refused=self._refused)
                )
                return self._merged(now, state, sums).to_json(about)

            written = SavedState.from_json(self._store.update(self._key.name, add), about)
        except INTERRUPTS:
            raise
        except BaseException as error:  # noqa: BLE001 - a policy or disk that fails costs knowledge, never a text
            log.warning(
                "state_not_saved",
                file=str(self._store.path),
                key=self._key.name,
                reason=error_text(error),
                remedy=FILE_REMEDY
                if isinstance(error, PacelineError) and not isinstance(error, ContractError)
                else POLICY_REMEDY,
            )
            return
        self._known, self._refused, self._before = written, None, (state, sums)

    def _merged(
        self, now: SavedState | None, state: dict[str, Any], sums: dict[str, float] | None
    ) -> SavedState:
        costs = None if self._costs is None else self._costs.state_dict()
        if sums is None:
            return SavedState(state, costs=costs)
        self._alone = self._alone and now == self._known
        there = now.statistics if now is not None and now.statistics is not None else {}
        return SavedState(
            state if self._alone else None, pool_statistics(there, sums, self._before[1] or {}), costs
        )

    def _learnt(self) -> tuple[dict[str, Any], dict[str, float] | None]:
        """Return state and sums as they read back from JSON, so that they compare equal to what is in a file."""
        policy = self._policy
        state = self._read("state_dict", policy.state_dict())
        return state, self._read("export", policy.export()) if isinstance(policy, Mergeable) else None

    def _read(self, method: str, value: dict[str, Any]) -> dict[str, Any]:
        if (problem := not_json(value)) is not None:
            place = defined_at(getattr(type(self._policy), method, None))
            raise breach(self._policy, f"{method}() returned {problem}, which JSON cannot hold", place)
        read: dict[str, Any] = json.loads(json.dumps(value))
        return read


def open_checkpoint(restore: Restore, policy: Policy, *, fallback: bool) -> StateCheckpoint | None:
    """Give a policy what is known, and return what saves what it learns; None for one that has no state.

    Under `fallback` a policy that cannot be restored goes on with what it has, and nothing of it is saved.
    """

    def checked() -> StateCheckpoint:
        checkpoint = restore(policy)
        if not callable(getattr(checkpoint, "save", None)):
            raise TypeError(f"it returned {short_repr(checkpoint)}, which has no save()")
        return checkpoint

    if not has_member(policy, "state_dict"):
        return None
    return run_guarded(checked, policy, "going on without what was learnt before", fallback=fallback)


def run_guarded(act: Callable[[], T], policy: Policy, otherwise: str, *, fallback: bool) -> T | None:
    """Return what restoring or saving a policy's state answers; None if it failed, under `fallback`.

    Raises:
        ContractError: It failed, without `fallback`; names the policy.
    """
    try:
        return act()
    except INTERRUPTS:
        raise
    except BaseException as error:
        if not fallback:
            if isinstance(error, PacelineError):
                raise
            raise ContractError(
                f"state of policy {describe(policy)}", f"it raised {short_repr(error)}"
            ) from error
        log.warning("state_failed", policy=describe(policy), error=error_text(error), action=otherwise)
        return None
