"""Texts of steady difficulty, and how fast a policy gets through them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from paceline.testing import FixedCosts, play


def _speed(policy, bits, *, share=0.1, **more):
    """Return tokens per second of a run, in plain steps, when verification grows slowly with the block."""
    rounds = play(policy, bits, costs=FixedCosts(share, lambda length, _: 1.0 + 0.012 * (length - 1)), **more)
    return sum(done.emitted for done in rounds) / sum(done.total_s for done in rounds)


@pytest.fixture
def speed() -> Callable[..., float]:
    return _speed
