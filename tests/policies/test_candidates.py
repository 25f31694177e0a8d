import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.core.errors import ConfigError
from paceline.core.guard import PolicyGuard
from paceline.core.records import Capabilities, RoundStart
from paceline.core.testing import FixedCosts, ScriptedPolicy
from paceline.policies.candidates import at_most, candidates, chosen_draft, drafting


def start(budget, engine=None, lags=("draft",)):
    return RoundStart(0, 0, 9, budget, dict.fromkeys(lags, 0), FixedCosts(), engine or Capabilities())


@settings(deadline=None)
@given(
    budget=st.integers(0, 30),
    max_gamma=st.integers(0, 20),
    gammas=st.none() | st.sets(st.integers(0, 25), min_size=1).map(lambda s: tuple(sorted(s))),
    zero=st.booleans(),
)
def test_candidates_are_exactly_what_engine_and_budget_leave(budget, max_gamma, gammas, zero):
    found = list(candidates(start(budget, Capabilities(gammas=gammas, zero_gamma=zero)), max_gamma))
    able = set(range(1, 100)) if gammas is None else set(gammas) - {0}
    payable = {gamma for gamma in able if gamma <= budget}
    wanted = {gamma for gamma in payable if gamma <= max_gamma}
    if zero:
        assert set(found) == wanted | {0}
    elif wanted:
        assert set(found) == wanted
    elif payable and gammas is not None:
        assert found == [min(payable)]
    else:
        assert found == [0]
    assert found == sorted(set(found))


def test_without_a_draft_only_plain_decoding_is_left():
    assert list(candidates(start(20, lags=()), 8)) == [0]
    assert chosen_draft(start(20, lags=()), None) is None


def test_an_unknown_draft_is_refused_by_name():
    with pytest.raises(ConfigError, match="'smal', but the drafts are: small, lookup"):
        chosen_draft(start(20, lags=("small", "lookup")), "smal")


def test_the_first_draft_is_the_default():
    assert chosen_draft(start(20, lags=("small", "lookup")), None) == "small"
    assert chosen_draft(start(20, lags=("small", "lookup")), "lookup") == "lookup"


def test_at_most_rounds_down_and_never_below_the_smallest():
    assert [at_most((2, 4, 8), wanted) for wanted in (1, 2, 3, 7, 8, 99)] == [2, 2, 2, 4, 8, 8]
    assert list(drafting(range(5))) == [1, 2, 3, 4]
    assert list(drafting((3, 5))) == [3, 5]


class NamedDraft:
    signals = frozenset()


@settings(deadline=None)
@given(
    budget=st.integers(0, 12),
    gammas=st.none() | st.sets(st.integers(1, 9), min_size=1).map(lambda s: tuple(sorted(s))),
    zero=st.booleans(),
)
def test_the_loop_admits_every_candidate(budget, gammas, zero):
    """Where none of an engine's gammas fits the budget, the loop must accept 0 although the engine always drafts."""
    begin = start(budget, Capabilities(gammas=gammas, zero_gamma=zero))
    for gamma in candidates(begin, 8):
        guard = PolicyGuard(ScriptedPolicy([gamma]), {"draft": NamedDraft()}, fallback=False)
        assert guard.plan(begin).gamma == gamma
