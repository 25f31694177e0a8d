"""The budget of looks at what is not in use."""

from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.core.records import Plan, Round
from paceline.core.state.declared import load_fields, save_fields
from paceline.policies.exploration import APART, CREDIT, DEAREST, PATIENCE, RISING, SHARE, Exploration


def a_round(seconds, *, draft=None, accepted=0):
    plan = Plan(1 if draft else 0, draft)
    return Round(
        0,
        0,
        9,
        plan,
        0,
        1 if draft else 0,
        accepted,
        accepted + 1,
        None,
        0.0,
        seconds,
        seconds,
        (1,) * (accepted + 1),
    )


@settings(deadline=None)
@given(prices=st.lists(st.floats(0.01, 30.0), min_size=1, max_size=4), rounds=st.integers(1, 1500))
def test_looks_take_a_stated_share_of_the_time_and_no_more(prices, rounds):
    """Drafts that are never right, each at its price: whatever it is, the time they cost is bounded."""
    looks = Exploration()
    total = spent = dearest = 0.0
    for _ in range(rounds):
        seconds, draft = 1.0, None
        for number, price in enumerate(prices):
            if looks.due(f"d{number}", price, 1.0):
                looks.begin(f"d{number}", 1.0)
                draft, seconds = f"d{number}", 1.0 + price
                spent, dearest = spent + price, max(dearest, price)
                break
        looks.observe(a_round(seconds, draft=draft), 1.0)
        total += seconds
    patience = sum(DEAREST / PATIENCE for price in prices if price <= DEAREST)
    assert spent <= (SHARE + patience) * total + CREDIT + dearest * len(prices) + 1e-9


def test_a_look_that_turns_out_well_may_be_followed_by_another():
    looks = Exploration()
    looks.waited["d"] = RISING
    assert looks.due("d", 0.05, 1.0)
    looks.begin("d", 1.0)
    looks.observe(a_round(1.05, draft="d", accepted=1), 1.0)
    assert looks.due("d", 0.05, 1.0)


def test_one_that_does_not_is_not_repeated_at_once():
    looks = Exploration()
    looks.begin("d", 1.0)
    assert looks.due("d", 0.01, 1.0)
    looks.observe(a_round(1.01, draft="d"), 1.0)
    due = [looks.due("d", 0.01, 1.0)]
    for _ in range(APART):
        looks.observe(a_round(1.0), 1.0)
        due.append(looks.due("d", 0.01, 1.0))
    assert due == [False] * APART + [True]


def test_a_dear_look_waits_for_a_better_moment():
    looks = Exploration(saved=1.0)
    waited = [
        rounds
        for rounds in range(1, PATIENCE)
        if not looks.observe(a_round(1.0), 1.0) and looks.due("d", 0.5, 1.0)
    ]
    assert APART < RISING // 4 < waited[0] < RISING // 2
    assert looks.due("cheap", 0.1, 1.0)


def test_what_was_saved_goes_on_where_it_was_kept():
    looks = Exploration()
    looks.due("d", 0.1, 1.0)
    looks.begin("d", 1.0)
    looks.observe(a_round(3.0, draft="d"), 1.0)
    assert load_fields(Exploration(), save_fields(looks)) == looks
