"""Teaching a policy what is known, and keeping what it adds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from paceline.core.abilities import Mergeable
from paceline.core.blame import blame
from paceline.core.errors import ContractError
from paceline.core.state.entry import Entry, check_statistics, pooled

if TYPE_CHECKING:
    from paceline.core.protocols import Policy
    from paceline.core.state.file import StateFile
    from paceline.core.state.subject import Subject


@dataclass(frozen=True, slots=True)
class Memory:
    """Knowledge about one subject in a file. Call it with a fresh policy to teach that."""

    file: StateFile
    subject: Subject

    def __call__(self, policy: Policy) -> Lesson:
        """Give a fresh policy what is known, and return what saves what it learns from now on."""
        known = self.file.read(self.subject)
        refused: Entry | None = None
        if known is not None:
            try:
                known.teach(policy)
            except ValueError as error:
                self.file.warn_refused(self.subject, error)
                known, refused = None, known
        return Lesson(self, policy, known, refused)


class Lesson:
    """What one policy knew when it was taught; later, what it has learnt since.

    Args:
        memory: Where it goes.
        policy: The policy, just taught.
        known: What it was taught from.
        refused: What it could not be taught from.

    Raises:
        ContractError: The state of the policy is not JSON-able.
    """

    def __init__(self, memory: Memory, policy: Policy, known: Entry | None, refused: Entry | None) -> None:
        self._memory = memory
        self._policy = policy
        self._known = known
        self._refused = refused
        self._alone = (
            True  # so far nobody else has written about the subject, so the policy knows all that is known
        )
        try:
            self._before = self._learnt()
        except (TypeError, ValueError) as error:
            raise ContractError(f"policy {blame(policy)}", f"its state cannot be saved: {error}") from error

    def save(self) -> None:
        """Write what was learnt since the last time; nothing, if nothing was. Problems are logged, never raised.

        Sums are added to what others have saved meanwhile. Where a policy has none, the latest state replaces all.
        """
        memory = self._memory
        try:
            state, sums = self._learnt()
            if (state, sums) == self._before:
                return
            if sums is not None:
                check_statistics(sums)
            written = memory.file.update(
                memory.subject, lambda now: self._merged(now, state, sums), unusable=self._refused
            )
        except Exception as error:  # noqa: BLE001 - a policy or disk that fails costs knowledge, never a text
            memory.file.warn_unsaved(memory.subject, error)
            return
        self._known, self._refused, self._before = written, None, (state, sums)

    def _merged(self, now: Entry | None, state: dict[str, Any], sums: dict[str, float] | None) -> Entry:
        if sums is None:
            return Entry(state)
        self._alone = self._alone and now == self._known
        there = now.statistics if now is not None and now.statistics is not None else {}
        return Entry(state if self._alone else None, pooled(there, sums, self._before[1] or {}))

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
