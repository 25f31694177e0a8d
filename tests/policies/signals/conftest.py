"""Rounds made by hand, with the probabilities of their draft tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from paceline.core.records import DraftState, Plan, Round, RoundStart, TokenSignals
from paceline.core.testing.doubles import FixedCosts
from paceline.core.testing.playing import settle


def _done(gamma, accepted, *, drafted=None, ended=None, probs=(), emitted=None):
    drafted = gamma if drafted is None else drafted
    start = RoundStart(3, 10, 50, gamma, {"draft": DraftState(0)}, FixedCosts(1.0, 10.0))
    done = settle(start, Plan(gamma, "draft"), drafted=drafted, accepted=accepted, ended=ended)
    signals = tuple(TokenSignals(i, prob=prob) for i, prob in enumerate(probs))
    return replace(done, signals=signals, emitted=done.emitted if emitted is None else emitted)


@pytest.fixture(scope="session")
def done() -> Callable[..., Round]:
    return _done
