"""One time a step is enough to tell the price of drafting from that of verifying, once gamma has changed."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.core.fused import FusedCosts
from paceline.core.optional_protocols import Tabulated
from paceline.core.price import PRIOR_DRAFT_SHARE

BASE, TOKEN, BLOCK, DRAFT = 8.0, 0.6, 1.0, 1.5


def true_s(requests, verified, drafted):
    return BASE + TOKEN * verified + BLOCK * (verified > requests) + DRAFT * drafted


def serve(costs, gammas, *, requests=1, seconds=true_s, spoil=lambda step, s: s):
    """Run steps: each verifies what the one before drafted, and drafts for the next."""
    pending = 0
    for step, gamma in enumerate(gammas):
        verified = requests * (1 + pending)
        took = spoil(step, seconds(requests, verified, gamma))
        costs.observe(took, requests=requests, verified=verified, drafted=gamma)
        pending = gamma
    return costs


def any_gammas(count, *, seed=1, most=4):
    chance = random.Random(seed)
    return [chance.randint(0, most) for _ in range(count)]


def test_drafting_and_verifying_are_told_apart_although_only_their_sum_is_known():
    costs = serve(FusedCosts(), any_gammas(300)).of(1)
    assert costs.draft_s("any", 3) == pytest.approx(3 * DRAFT, rel=0.05)
    for length in (1, 2, 5):
        assert costs.verify_s(length, 100) == pytest.approx(
            BASE + TOKEN * length + BLOCK * (length > 1), rel=0.03
        )


def test_a_model_keyed_by_the_verified_gamma_alone_would_not_fit_these_times():
    """The two gammas of a step differ: what it verifies was decided a step earlier than what it drafts."""
    costs = serve(FusedCosts(), any_gammas(300)).of(1)
    assert costs.verify_s(5, 0) - costs.verify_s(2, 0) == pytest.approx(3 * TOKEN, rel=0.15)
    assert costs.verify_s(5, 0) - costs.verify_s(2, 0) < 3 * (TOKEN + DRAFT) / 2


def test_steps_of_more_requests_cost_their_tokens():
    costs = FusedCosts()
    chance = random.Random(2)
    for _ in range(60):
        serve(costs, any_gammas(6, seed=chance.random()), requests=chance.choice([1, 2, 4, 8]))
    for requests in (1, 8):
        assert costs.of(requests).verify_s(5, 0) == pytest.approx(true_s(requests, 5 * requests, 0), rel=0.05)


def test_slow_first_steps_are_forgotten():
    slow = serve(FusedCosts(), any_gammas(120), spoil=lambda step, s: 30 * s if step < 3 else s).of(1)
    assert slow.verify_s(1, 0) == pytest.approx(BASE + TOKEN, rel=0.08)


def test_pauses_of_the_machine_move_little():
    chance = random.Random(3)
    rough = serve(
        FusedCosts(), any_gammas(400), spoil=lambda step, s: 10 * s if chance.random() < 0.05 else s
    )
    assert rough.of(1).verify_s(1, 0) == pytest.approx(BASE + TOKEN, rel=0.1)
    assert rough.of(1).draft_s("any", 4) == pytest.approx(4 * DRAFT, rel=0.2)


def test_a_lasting_change_is_followed():
    costs = serve(FusedCosts(), any_gammas(300))
    serve(costs, any_gammas(300, seed=5), spoil=lambda step, s: 3 * s)
    assert costs.of(1).verify_s(1, 0) == pytest.approx(3 * (BASE + TOKEN), rel=0.1)


def test_what_one_gamma_cannot_tell_apart_stays_as_assumed_and_its_sum_is_right():
    costs = serve(FusedCosts(), [3] * 200).of(1)
    assert costs.draft_s("any", 3) + costs.verify_s(4, 0) == pytest.approx(true_s(1, 4, 3), rel=0.02)
    assert costs.draft_s("any", 1) > 0.0


def test_before_any_step_a_plain_round_costs_1_for_any_policy_to_start_from():
    costs = FusedCosts().of(1)
    assert costs.verify_s(1, 0) == pytest.approx(1.0)
    assert costs.draft_s("any", 1) == pytest.approx(PRIOR_DRAFT_SHARE)


def test_the_table_of_a_round_is_the_sum_of_its_parts():
    costs = serve(FusedCosts(), any_gammas(50), requests=3).of(3)
    assert isinstance(costs, Tabulated)
    rounds_s, more_s = costs.round_s("any", 6, 40)
    assert more_s == 0.0
    assert rounds_s == pytest.approx(
        [costs.draft_s("any", gamma) + costs.verify_s(gamma + 1, 40) for gamma in range(7)]
    )


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0.0, 1e3), st.integers(1, 64), st.integers(0, 8), st.integers(0, 8)), max_size=60
    )
)
def test_whatever_is_measured_every_answer_is_finite_and_verifying_more_never_costs_less(steps):
    costs = FusedCosts()
    for seconds, requests, each, drafted in steps:
        costs.observe(seconds, requests=requests, verified=requests * (1 + each), drafted=drafted)
    for requests in (1, 7):
        asked = costs.of(requests)
        verify = [asked.verify_s(length, 10) for length in range(1, 10)]
        assert verify == sorted(verify)
        assert all(0.0 <= one < 1e9 for one in (*verify, asked.draft_s("any", 8)))
