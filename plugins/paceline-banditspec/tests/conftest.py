"""Rounds and starts made by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from paceline import DraftState, Plan, Round, RoundStart
from paceline.testing import FixedCosts


def _start(budget=100, *, drafts=("good", "bad"), **more):
    return RoundStart(0, 0, 50, budget, dict.fromkeys(drafts, DraftState(0)), FixedCosts(), **more)


def _done(plan, accepted, *, seconds=1.0, ended=None):
    if not isinstance(plan, Plan):
        plan = Plan(4, plan)
    return Round(
        index=0,
        position=0,
        context=50,
        plan=plan,
        lag=0,
        drafted=plan.gamma,
        accepted=accepted,
        emitted=accepted + 1,
        ended=ended,
        draft_s=0.0,
        verify_s=seconds,
        total_s=seconds,
        tokens=(0,) * (accepted + 1),
    )


@pytest.fixture
def start() -> Callable[..., RoundStart]:
    return _start


@pytest.fixture
def done() -> Callable[..., Round]:
    return _done
