"""What the laws for policies are written with: demands, generated lives, and states as text."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import FlakyFailure

from paceline.core.members import state_of
from paceline.core.protocols import Policy
from paceline.core.records import Plan, RoundStart

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

Make = Callable[[], Policy]
"""Returns a fresh policy at every call, always of the same configuration and seed."""

Law = Callable[[Plan, RoundStart], None]
"""Is asked about each plan, and raises AssertionError where it is not lawful."""


def demand(holds: bool, sentence: str) -> None:
    """Raise AssertionError with a sentence unless something holds."""
    if not holds:
        raise AssertionError(sentence)


def for_steps(check: Callable[[Any], object], strategy: SearchStrategy[Any], examples: int) -> None:
    """Run a check over many generated lives, the same ones for every policy; when one fails, shrink it."""
    try:
        for life in _lives(strategy, examples):
            check(life)
    except Exception as error:  # noqa: BLE001 - whatever a policy raises is its failure
        failure = error
    else:
        return
    _search(check, strategy, examples)
    raise failure  # a policy that is not deterministic need not fail twice; it failed


@cache
def _lives(strategy: SearchStrategy[Any], examples: int) -> tuple[Any, ...]:
    """Return what hypothesis generates; kept, since generating takes ten times as long as living through it."""
    lives: list[Any] = []
    _search(lives.append, strategy, examples)
    return tuple(lives)


def _search(check: Callable[[Any], object], strategy: SearchStrategy[Any], examples: int) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def run(value: Any) -> None:
        check(value)

    try:
        run()
    except FlakyFailure as error:
        raise error.exceptions[0] from None


def saved(policy: Policy) -> str:
    """Return a policy's state as JSON."""
    try:
        return json.dumps(state_of(policy), allow_nan=False, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise AssertionError(f"state_dict() must be JSON-able with finite numbers: {error}") from error


def short(value: object) -> str:
    """Return a value's text, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
