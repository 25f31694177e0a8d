"""What a policy must have, what it may leave out, and what stands for a member that is left out.

`plan` and `observe` must be there. A policy without `needs` looks at nothing, without `requires` it runs on every
engine, without `keep_drafting` it never stops drafting, and without `state_dict` and `load_state_dict` nothing of it is
kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from paceline.core.blame import INTERRUPTS, blame, shown
from paceline.core.errors import ContractError
from paceline.core.records import SIGNALS, Requirements, Signal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paceline.core.protocols import Policy
    from paceline.core.records import TokenSignals

MANDATORY = ("plan", "observe")
OPTIONAL = ("keep_drafting", "state_dict", "load_state_dict")
NOTHING: frozenset[Signal] = frozenset()
ANYWHERE = Requirements()


def check_members(policy: object) -> None:
    """Check that a policy has what it needs, and that what it declares is what it may declare.

    Raises:
        ContractError: Names the policy's class and the member.
    """
    for name in MANDATORY:
        if not has(policy, name):
            raise breach(
                policy,
                f"it has no {name}(); a policy needs plan() and observe(), see docs/writing-a-policy.md",
            )
    for name in (*MANDATORY, *OPTIONAL):
        if not callable(member := _declared(policy, name, callable)):
            raise breach(policy, f"`{name}` must be a method, found {shown(member)}")
    needs = _declared(policy, "needs", NOTHING)
    if not isinstance(needs, frozenset) or not needs <= SIGNALS:
        raise breach(
            policy, f"`needs` must be a frozenset of {', '.join(sorted(SIGNALS))}; found {shown(needs)}"
        )
    requires = _declared(policy, "requires", ANYWHERE)
    if not isinstance(requires, Requirements):
        raise breach(policy, f"`requires` must be a Requirements, found {shown(requires)}")


def _declared(policy: object, name: str, default: object) -> object:
    """Return a member of a policy, or what stands for one that is left out."""
    if not has(policy, name):
        return default
    try:
        return getattr(policy, name)
    except INTERRUPTS:
        raise
    except BaseException as error:
        raise breach(policy, f"asked for `{name}`, it raised {shown(error)}") from error


def has(policy: object, name: str) -> bool:
    """Tell whether a policy has a member; a property that raises counts as one that is there."""
    return hasattr(type(policy), name) or hasattr(policy, name)


def needs_of(policy: Policy) -> frozenset[Signal]:
    """Return the signals that a policy wants after each draft token."""
    return policy.needs if has(policy, "needs") else NOTHING


def requires_of(policy: Policy) -> Requirements:
    """Return what a policy cannot do without."""
    return policy.requires if has(policy, "requires") else ANYWHERE


def keeps(policy: Policy, signals: TokenSignals) -> bool:
    """Ask a policy whether to draft another token."""
    return policy.keep_drafting(signals) if has(policy, "keep_drafting") else True


def state_of(policy: Policy) -> dict[str, Any]:
    """Return what a policy has learnt; nothing where it keeps nothing."""
    return policy.state_dict() if has(policy, "state_dict") else {}


def take_over(policy: Policy, state: Mapping[str, Any]) -> None:
    """Give a policy what was learnt before.

    Raises:
        ValueError: It does not take it, or keeps nothing at all.
    """
    if has(policy, "load_state_dict"):
        policy.load_state_dict(state)
    elif state:
        raise ValueError(f"{blame(policy)} has no load_state_dict(), so it takes over nothing")


def breach(policy: object, message: str) -> ContractError:
    """Return the error that blames a policy."""
    return ContractError(f"policy {blame(policy)}", message)
