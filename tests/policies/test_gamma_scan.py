"""The scan for the best gamma, against trying every one."""

import math
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paceline.core.costs import LiveCosts
from paceline.core.records import DraftState, RoundStart
from paceline.policies.gamma_scan import (
    best_gamma,
    largest_at_most,
    positive_gammas,
)
from paceline.testing import FixedCosts


def start(budget, lags):
    return RoundStart(0, 0, 9, budget, dict.fromkeys(lags, DraftState(0)), FixedCosts())


def test_at_most_rounds_down_and_never_below_the_smallest():
    assert [largest_at_most((2, 4, 8), wanted) for wanted in (1, 2, 3, 7, 8, 99)] == [2, 2, 2, 4, 8, 8]
    assert list(positive_gammas(range(5))) == [1, 2, 3, 4]
    assert list(positive_gammas((3, 5))) == [3, 5]


CHANCES = st.lists(st.floats(0.0, 1.0), min_size=12, max_size=12)
VERIFY = st.lists(st.floats(0.0, 3.0), min_size=13, max_size=13)


def by_trying(start, gammas, acceptance_probs, best_s):
    best = (0, best_s)
    for gamma in gammas:
        survival, tokens = 1.0, 1.0
        for acceptance_prob in acceptance_probs[:gamma]:
            survival *= acceptance_prob
            tokens += survival
        round_s = start.costs.draft_s("draft", gamma) + start.costs.verify_s(gamma + 1, start.context)
        if round_s / tokens < best[1]:
            best = (gamma, round_s / tokens)
    return best


FACTORY = [HealthCheck.function_scoped_fixture]  # `start` only makes values


@settings(deadline=None, max_examples=300, suppress_health_check=FACTORY)
@given(
    acceptance_probs=CHANCES,
    draft_s=st.floats(0.0, 5.0),
    steps=VERIFY,
    gammas=st.sets(st.integers(1, 12), min_size=1).map(sorted),
    plain=st.booleans(),
)
def test_it_finds_what_trying_every_gamma_finds(start, acceptance_probs, draft_s, steps, gammas, plain):
    levels = [10.0]
    for step in steps:
        levels.append(levels[-1] + step)  # verification never gets cheaper with length
    here = start(costs=FixedCosts(draft_s, lambda length, _: levels[length]))
    limit = levels[1] if plain else math.inf
    gamma, token_s = best_gamma(here, "draft", gammas, iter(acceptance_probs), limit)
    expected, expected_s = by_trying(here, gammas, acceptance_probs, limit)
    assert token_s == pytest.approx(expected_s)
    assert gamma == expected or token_s == pytest.approx(expected_s, rel=1e-12)


@settings(deadline=None, suppress_health_check=FACTORY)
@given(
    acceptance_probs=CHANCES,
    rounds=st.lists(st.tuples(st.integers(0, 12), st.floats(0.1, 3.0), st.floats(0.0, 2.0)), max_size=40),
    gammas=st.sets(st.integers(1, 12), min_size=1).map(sorted),
)
def test_a_table_of_costs_leads_to_the_same_gamma(start, done, acceptance_probs, rounds, gammas):
    costs = LiveCosts()
    for gamma, token_s, verify_s in rounds:
        costs.observe(replace(done(gamma, 0), draft_s=gamma * token_s, verify_s=verify_s))
    here = start(costs=costs)
    gamma, token_s = best_gamma(here, "draft", gammas, iter(acceptance_probs), math.inf)
    expected, expected_s = by_trying(here, gammas, acceptance_probs, math.inf)
    assert token_s == pytest.approx(expected_s)
    assert gamma == expected or token_s == pytest.approx(expected_s, rel=1e-12)


class Tabulating(FixedCosts):
    """Says apart what the context adds."""

    def round_s(self, draft, longest, context):
        table = [self.draft_s(draft, g) + self.verify_s(g + 1, 0) for g in range(longest + 1)]
        return table, self.verify_s(1, context) - self.verify_s(1, 0)


def test_what_the_context_adds_to_a_table_counts(start):
    prices = 1.0, lambda length, context: 5.0 + 0.5 * length + 0.3 * context
    found = [
        best_gamma(start(costs=kind(*prices), context=90), "draft", range(1, 13), iter([0.9] * 12), math.inf)
        for kind in (FixedCosts, Tabulating)
    ]
    assert found[0][0] == found[1][0] == 12
    assert found[0][1] == pytest.approx(found[1][1])


def test_probabilities_are_read_no_further_than_the_scan_gets(start):
    read = []

    def acceptance_probs():
        for place in range(100):
            read.append(place)
            yield 0.1

    assert best_gamma(start(), "draft", range(1, 65), acceptance_probs(), 10.0) == (0, 10.0)
    assert len(read) < 5


def test_a_gamma_beyond_what_is_counted_yields_nothing_more(start):
    gamma, token_s = best_gamma(start(), "draft", [8], iter([1.0, 1.0]), math.inf)
    assert (gamma, token_s) == (8, (8 * 1.0 + 10.0) / 3)


@settings(deadline=None, suppress_health_check=FACTORY)
@given(lag=st.integers(0, 50), budget=st.integers(1, 200))
def test_a_lag_is_spread_over_the_tokens_that_are_wanted(start, lag, budget):
    here = start(budget, costs=FixedCosts(1.0, 10.0, catch_up_s=0.5), lags={"draft": lag})
    _, token_s = best_gamma(here, "draft", [4], iter([0.9] * 4), math.inf)
    _, without_s = best_gamma(start(budget), "draft", [4], iter([0.9] * 4), math.inf)
    assert token_s == pytest.approx(without_s + 0.5 * lag / (budget + 1))
    assert best_gamma(here, "draft", [4], iter([0.9] * 4), math.inf, lagging=False)[1] == without_s
