"""Base classes of policies: what may be left out has a default, and what is learnt is declared once, as `state`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic

from paceline.core.guards.policy import load_state, state_of
from paceline.core.records import Requirements
from paceline.core.state.declared import (
    S,
    add_statistics,
    load_fields,
    save_fields,
    statistics_of,
    without_statistics,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paceline.core.records import Plan, Round, RoundStart, Signal, TokenSignals


class BasePolicy(ABC, Generic[S]):
    """Wants no signals, demands nothing of the engine, learns nothing, and saves its declared state.

    Args:
        name: The policy's name, which saved states carry.
        state: What it knows at first.

    Attributes:
        version: Of the saved state. Raise it when fields change, so that older states are refused.
        state: What it has learnt. Loading and merging put another object in its place.
    """

    needs: frozenset[Signal] = frozenset()
    requires = Requirements()
    version = 1

    def __init__(self, name: str, state: S) -> None:
        self.name = name
        self.state = state

    @abstractmethod
    def plan(self, start: RoundStart) -> Plan:
        """Choose draft and gamma for the round that starts now."""

    def keep_drafting(self, signals: TokenSignals) -> bool:
        """Never stop early."""
        return True

    def observe(self, done: Round) -> None:
        """Learn nothing."""

    def held(self) -> Mapping[str, Any]:
        """Return the policies that this one holds, by name; their states are saved and loaded with its own."""
        return {}

    def refresh(self) -> None:
        """Renew what was derived from `state`, which has just been replaced."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state, and those of the policies held, as JSON-able values."""
        saved: dict[str, Any] = {"policy": self.name, "version": self.version} | save_fields(self.state)
        if held := self.held():
            saved["held"] = {name: state_of(policy) for name, policy in held.items()}
        return saved

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a saved state.

        Raises:
            ValueError: The state is damaged, or of another policy, version or options; nothing is changed.
        """
        header = (state.get("policy"), state.get("version"))
        if header != (self.name, self.version) or isinstance(header[1], bool):
            raise ValueError(
                f"expected the state of policy {self.name!r}, version {self.version}, but found policy {header[0]!r}, "
                f"version {header[1]!r}; delete the saved state to start afresh"
            )
        fresh = load_fields(self.state, state)
        load_together(self.held(), state.get("held", {}))
        self.adopt(fresh)

    def adopt(self, state: S) -> None:
        """Put another state in the place of this one."""
        self.state = state
        self.refresh()


class MergeablePolicy(BasePolicy[S]):
    """A policy whose state has `Summed` fields, which replicas pool: it is `Mergeable` and `Shareable`.

    Attributes:
        timed: Whether its sums hold times, so that they mean nothing on other hardware.
    """

    timed = True

    @property
    def merging(self) -> BasePolicy[Any]:
        """The policy whose sums are merged: this one, or one that it holds."""
        return self

    def export(self) -> dict[str, float]:
        """Return the numbers of the state that add up and are not 0, by their paths."""
        return statistics_of(self.merging.state)

    def absorb(self, statistics: Mapping[str, float]) -> None:
        """Add the numbers of another instance.

        Raises:
            ValueError: A key or a number is not one that `export` writes with these options; nothing is changed.
        """
        self.merging.adopt(add_statistics(self.merging.state, statistics))

    def replace(self, statistics: Mapping[str, float]) -> None:
        """Put the numbers of a group in the place of this policy's own.

        Raises:
            ValueError: As `absorb`; nothing is changed.
        """
        self.merging.adopt(add_statistics(without_statistics(self.merging.state), statistics))


def load_together(policies: Mapping[str, Any], states: object) -> None:
    """Load a state into each of several policies, or into none.

    Raises:
        ValueError: A state is missing, or a policy refuses its own; all are as they were before.
    """
    if not isinstance(states, dict) or states.keys() != policies.keys():
        raise ValueError(
            f"the saved state is damaged or of other options: this policy holds {sorted(policies)}, it holds "
            f"{sorted(states) if isinstance(states, dict) else states!r}"
        )
    before = {name: state_of(policy) for name, policy in policies.items()}
    for count, (name, policy) in enumerate(policies.items()):
        try:
            if not isinstance(states[name], dict):
                raise ValueError(f"the saved state is damaged: that of {name!r} is {states[name]!r}")  # noqa: TRY004, TRY301 - refused, and undone, like any other
            load_state(policy, states[name])
        except ValueError:
            for changed in list(policies)[:count]:
                load_state(policies[changed], before[changed])
            raise
