"""A table of values of actions in states, where a cell that was never visited borrows from its column."""

from __future__ import annotations

from typing import Any

from paceline.policies.state import MOST, check_count, check_list


class Values:
    """What each action turned out to be worth in each state; the row past the last state is for all states together."""

    __slots__ = ("_actions", "_values", "_visits")

    def __init__(self, states: int, actions: int) -> None:
        self._actions = actions
        self._values = [[0.0] * actions for _ in range(states + 1)]
        self._visits = [[0] * actions for _ in range(states + 1)]

    def of(self, state: int, action: int) -> float:
        """Return the value of an action, 0 while it was never taken anywhere."""
        return self._values[state if self._visits[state][action] else -1][action]

    def tried(self, action: int) -> bool:
        """Tell whether an action was taken in any state."""
        return self._visits[-1][action] > 0

    def best(self, state: int) -> float:
        """Return the value of the best action."""
        return max(self.of(state, action) for action in range(self._actions))

    def learn(self, state: int, action: int, worth: float, least_weight: float) -> None:
        """Move a value by 1 / visits, or `least_weight` if that is more, towards what the action was worth now."""
        for row in (state, -1):
            self._visits[row][action] += 1
            weight = max(least_weight, 1.0 / self._visits[row][action])
            self._values[row][action] += weight * (worth - self._values[row][action])

    def state_dict(self) -> dict[str, Any]:
        """Return the table and the visits of its cells."""
        return {
            "values": [list(row) for row in self._values],
            "visits": [list(row) for row in self._visits],
        }

    def load_state_dict(self, state: object) -> None:
        """Take over a table.

        Raises:
            ValueError: The state is damaged or of another size; nothing is changed.
        """
        if not isinstance(state, dict):
            raise ValueError("the saved state is damaged: values is not a mapping")  # noqa: TRY004 - callers are promised ValueError
        values = [[_finite(one) for one in row] for row in self._rows(state, "values")]
        self._visits = [
            [int(check_count(one, "a visit", whole=True)) for one in row]
            for row in self._rows(state, "visits")
        ]
        self._values = values

    def _rows(self, state: dict[str, Any], key: str) -> list[list[Any]]:
        rows = check_list(state.get(key), key, length=len(self._values))
        return [check_list(row, f"a row of {key}", length=self._actions) for row in rows]


def _finite(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MOST:
        raise ValueError(
            f"the saved state is damaged: a value is {value!r}, not a number from -{MOST} to {MOST}"
        )
    return float(value)
