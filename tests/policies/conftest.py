"""Rounds and starts made by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from paceline.core.records import DraftState, Plan, Round, RoundStart, TokenSignals
from paceline.core.testing.doubles import FixedCosts
from paceline.core.testing.playing import settle


def _start(budget=100, *, costs=None, lags=None, match_lengths=None, context=50, **more):
    lags, lengths = {"draft": 0} if lags is None else lags, match_lengths or {}
    drafts = {draft: DraftState(lag, lengths.get(draft)) for draft, lag in lags.items()}
    return RoundStart(3, 10, context, budget, drafts, costs or FixedCosts(1.0, 10.0), **more)


def _done(gamma, accepted, *, drafted=None, ended=None, draft="draft", probs=(), emitted=None):
    start = _start(max(gamma, 1), lags={draft: 0})
    plan = Plan(gamma, draft if gamma else None)
    done = settle(start, plan, drafted=gamma if drafted is None else drafted, accepted=accepted, ended=ended)
    signals = tuple(TokenSignals(i, prob=prob) for i, prob in enumerate(probs))
    return replace(done, signals=signals, emitted=done.emitted if emitted is None else emitted)


@pytest.fixture(scope="session")
def start() -> Callable[..., RoundStart]:
    return _start


@pytest.fixture(scope="session")
def done() -> Callable[..., Round]:
    return _done
