"""Gammas that a round leaves open, and who may say that any will do."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.core.errors import CapabilityError
from paceline.core.guards.policy import PolicyGuard, check_fit
from paceline.core.records import Capabilities, DraftState, Requirements, RoundStart
from paceline.testing import FixedCosts, ScriptedPolicy


def start(budget, engine=None, lags=("draft",)):
    return RoundStart(
        0, 0, 9, budget, dict.fromkeys(lags, DraftState(0)), FixedCosts(), engine or Capabilities()
    )


@settings(deadline=None)
@given(
    budget=st.integers(0, 30),
    max_gamma=st.integers(0, 20),
    gammas=st.none() | st.sets(st.integers(0, 25), min_size=1).map(lambda s: tuple(sorted(s))),
    zero=st.booleans(),
)
def test_gammas_are_exactly_what_engine_and_budget_leave(budget, max_gamma, gammas, zero):
    found = list(start(budget, Capabilities(gammas=gammas, zero_gamma=zero)).gammas(max_gamma))
    able = set(range(1, 100)) if gammas is None else set(gammas) - {0}
    payable = {gamma for gamma in able if gamma <= budget}
    wanted = {gamma for gamma in payable if gamma <= max_gamma}
    if zero:
        assert set(found) == wanted | {0}
    elif wanted:
        assert set(found) == wanted
    elif payable:
        assert found == [min(payable)]
    else:
        assert found == [0]
    assert found == sorted(set(found))


def test_without_a_draft_only_plain_decoding_is_left():
    assert list(start(20, lags=()).gammas(8)) == [0]


class NamedDraft:
    signals = frozenset()


@settings(deadline=None)
@given(
    budget=st.integers(0, 12),
    gammas=st.none() | st.sets(st.integers(1, 9), min_size=1).map(lambda s: tuple(sorted(s))),
    zero=st.booleans(),
)
def test_the_loop_admits_each_of_them(budget, gammas, zero):
    """The loop, where none of an engine's gammas fits the budget, must accept 0 although the engine always drafts."""
    begin = start(budget, Capabilities(gammas=gammas, zero_gamma=zero))
    for gamma in begin.gammas(8):
        guard = PolicyGuard(ScriptedPolicy([gamma]), {"draft": NamedDraft()}, fallback=False)
        assert guard.plan(begin).gamma == gamma


@pytest.mark.parametrize("gammas", [None, (0, 1, 2, 3), (1, 2), tuple(range(20))])
def test_a_list_without_gaps_counts_as_any_gamma(gammas):
    policy = ScriptedPolicy([1])
    policy.requires = Requirements(any_gamma=True)
    check_fit(policy, Capabilities(gammas=gammas), {"draft": NamedDraft()})


@pytest.mark.parametrize("gammas", [(0, 4), (2, 3), (1, 2, 4)])
def test_a_list_with_gaps_does_not(gammas):
    policy = ScriptedPolicy([1])
    policy.requires = Requirements(any_gamma=True)
    with pytest.raises(CapabilityError, match="plans any gamma, the engine only"):
        check_fit(policy, Capabilities(gammas=gammas), {"draft": NamedDraft()})
