"""One entry of a state file: the state of a policy, its additive statistics, or both.

`statistics` are sums that several processes add to. `state` is everything a policy knows, and is left out where it
would not hold all of `statistics`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from paceline.core.abilities import Mergeable
from paceline.core.members import take_over

if TYPE_CHECKING:
    from paceline.core.protocols import Policy


@dataclass(frozen=True, slots=True)
class Entry:
    """What is kept of one policy, state or statistics or both, and of the costs that it learnt beside."""

    state: Mapping[str, Any] | None = None
    statistics: Mapping[str, float] | None = None
    costs: Mapping[str, Any] | None = None

    def restore(self, policy: Policy) -> None:
        """Give a fresh policy what is known: its whole state, or else the statistics.

        A state may be refused for options that changed, where the statistics still mean something.

        Raises:
            ValueError: The policy refuses both.
        """
        pooling = self.statistics if isinstance(policy, Mergeable) else None
        if self.state is not None:
            try:
                take_over(policy, self.state)
            except ValueError:
                if pooling is None:
                    raise
            else:
                return
        if pooling is None:
            raise ValueError("it holds statistics, and this policy cannot take up any")
        assert isinstance(policy, Mergeable)
        policy.absorb(pooling)

    def to_json(self, about: Mapping[str, Any]) -> dict[str, Any]:
        """Return what stands in the file."""
        written: dict[str, Any] = {"about": dict(about)}
        if self.state is not None:
            written["state"] = dict(self.state)
        if self.statistics is not None:
            written["statistics"] = dict(self.statistics)
        if self.costs is not None:
            written["costs"] = dict(self.costs)
        return written


def read_entry(found: object, about: Mapping[str, Any]) -> Entry:
    """Return an entry as it stands in a file.

    Raises:
        ValueError: It is damaged, or was learnt about something else.
    """
    if not isinstance(found, dict):
        raise ValueError(f"the entry is {type(found).__name__}, not a mapping")  # noqa: TRY004 - callers catch ValueError
    if found.get("about") != about:
        raise ValueError("the entry was learnt about other models, drafts or hardware than its key says")
    state, statistics, costs = found.get("state"), found.get("statistics"), found.get("costs")
    if state is None and statistics is None:
        raise ValueError("the entry holds neither state nor statistics")
    if state is not None and not isinstance(state, dict):
        raise ValueError(f"the state is {type(state).__name__}, not a mapping")
    if statistics is not None:
        check_statistics(statistics)
    if costs is not None and not isinstance(costs, dict):
        raise ValueError(f"the costs are {type(costs).__name__}, not a mapping")
    return Entry(state, statistics, costs)


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


def pooled(
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
