"""Posterior sampling: against brute force, in the long run, and over several drafts."""

from collections import Counter
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.core.records import Capabilities, DraftState, RoundStart
from paceline.policies.thompson import ThompsonConfig
from paceline.testing import FixedCosts, play

from .texts import text


def mean(random, right, wrong):
    """Return the mean of a Beta distribution in the place of a draw from it."""
    return right / (right + wrong)


COUNT = st.floats(0.0, 50.0)


@settings(deadline=None, max_examples=150)
@given(
    counts=st.lists(st.tuples(COUNT, COUNT), min_size=8, max_size=8),
    draft_s=st.floats(0.0, 20.0),
    starting_s=st.floats(0.0, 10.0),
    steps=st.lists(st.floats(0.0, 5.0), min_size=9, max_size=9),
    budget=st.integers(1, 12),
    gammas=st.none() | st.sets(st.integers(1, 8), min_size=1).map(lambda s: tuple(sorted(s))),
)
def test_given_its_draws_the_plan_is_the_argmax(counts, draft_s, starting_s, steps, budget, gammas):
    class Costs:
        def draft_s(self, draft, gamma, lag=0):
            return starting_s + gamma * draft_s

        def verify_s(self, length, context):
            return 1.0 + sum(steps[:length])

    policy = ThompsonConfig(max_gamma=8).build()
    known = policy.state.known["draft"]
    known.accepted, known.refused = [y for y, _ in counts], [f for _, f in counts]
    centre = (sum(y for y, _ in counts) + 2) / (sum(y + f for y, f in counts) + 3)

    def speed(gamma):
        tokens, survival = 1.0, 1.0
        for y, f in counts[:gamma]:
            survival *= (y + 4 * centre) / (y + f + 4)
            tokens += survival
        return tokens / ((Costs().draft_s("", gamma) if gamma else 0.0) + Costs().verify_s(gamma + 1, 0))

    able = [0, *(g for g in (gammas or range(1, 9)) if g <= budget)]
    start = RoundStart(0, 0, 9, budget, {"draft": DraftState(0)}, Costs(), Capabilities(gammas=gammas))
    with patch("paceline.policies.thompson.draw_beta", mean):
        plan = policy.plan(start)
    assert plan.gamma in able
    assert speed(plan.gamma) >= max(map(speed, able)) * (1 - 1e-9)


def test_a_price_of_starting_to_draft_does_not_end_the_search_at_one_token(start):
    class Costs(FixedCosts):
        def draft_s(self, draft, gamma, lag=0):
            return 20.0 + 0.1 * gamma

    policy = ThompsonConfig().build()
    known = policy.state.known["draft"]
    known.accepted, known.refused = [90.0] * 16, [10.0] * 16
    assert policy.plan(start(costs=Costs(0.1, 10.0))).gamma >= 12


@pytest.mark.parametrize(("alpha", "share"), [(0.5, 0.05), (0.8, 0.1), (0.9, 0.2)])
def test_what_it_plans_concentrates_on_the_optimum(alpha, share):
    def speed(gamma):
        return (1 - alpha ** (gamma + 1)) / (1 - alpha) / (gamma * share + 1.0)

    optimum = max(range(17), key=speed)
    policy = ThompsonConfig(discount=1.0).build(seed=1)
    late = play(policy, text(alpha, 12_000), costs=FixedCosts(share, 1.0))[-420:-20]
    planned = Counter(r.plan.gamma for r in late)
    assert abs(planned.most_common(1)[0][0] - optimum) <= 1
    assert sum(speed(r.plan.gamma) for r in late) / len(late) >= 0.985 * speed(optimum)


@pytest.mark.parametrize(("discount", "share"), [(1.0, 0.9), (0.98, 0.6)])
def test_a_wall_at_one_position_is_found(discount, share, start, done):
    """The first two tokens are always right and the third never: no single accuracy describes that."""
    policy = ThompsonConfig(discount=discount).build()
    planned = []
    for _ in range(400):
        gamma = policy.plan(start(costs=FixedCosts(0.1, 1.0))).gamma
        planned.append(gamma)
        policy.observe(done(gamma, min(gamma, 2)))
    assert planned[-100:].count(2) >= 100 * share


@pytest.mark.parametrize(
    ("alphas", "draft_s", "better"),
    [
        ({"a": 0.9, "b": 0.4}, 1.0, "a"),
        ({"a": 0.4, "b": 0.9}, 1.0, "b"),
        ({"a": 0.9, "b": 0.8}, {"a": 6.0, "b": 0.5}, "b"),
    ],
)
def test_the_better_draft_is_found(alphas, draft_s, better):
    bits = {name: text(alpha, 3000, seed=i) for i, (name, alpha) in enumerate(alphas.items())}
    rounds = play(ThompsonConfig().build(), bits, costs=FixedCosts(draft_s, 10.0))
    late = [r.plan.draft for r in rounds[-210:-10]]
    assert late.count(better) >= 180


def test_it_keeps_to_one_draft_where_the_engine_does_not_switch():
    bits = {"a": text(0.2, 600), "b": text(0.9, 600)}
    for engine in (Capabilities(draft_switch="none"), Capabilities(draft_switch="request")):
        rounds = play(ThompsonConfig().build(), bits, engine=engine)
        assert {r.plan.draft for r in rounds} <= {"a", None}


def test_a_draft_too_far_behind_is_left_alone_until_it_pays(start, done):
    policy = ThompsonConfig(discount=1.0).build()
    for _ in range(200):
        policy.observe(done(8, 6, draft="a"))
        policy.observe(done(8, 7, draft="b"))
    costs = FixedCosts(0.1, 10.0, catch_up_s=1.0)
    far, near = start(30, costs=costs, lags={"a": 0, "b": 900}), start(30, costs=costs, lags={"a": 0, "b": 2})
    assert {policy.plan(far).draft for _ in range(50)} == {"a"}
    assert Counter(policy.plan(near).draft for _ in range(50))["b"] > 25


def test_it_notices_that_the_text_has_changed():
    rounds = play(ThompsonConfig().build(), text(0.05, 500) + [True] * 500, costs=FixedCosts(2.0, 10.0))
    assert sum(r.plan.gamma for r in rounds[200:350]) < 60
    assert sum(r.plan.gamma for r in rounds[-8:-3]) / 5 >= 4


def test_equal_seeds_agree_and_different_seeds_explore_differently():
    config = ThompsonConfig()
    runs = [[r.plan for r in play(config.build(seed), text(0.7, 400))] for seed in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


@pytest.mark.parametrize(("drafted", "ended"), [(0, None), (6, "eos"), (6, "length")])
def test_a_round_without_evidence_changes_nothing(drafted, ended, done):
    policy = ThompsonConfig().build()
    policy.observe(done(6, 4))
    before = policy.state_dict()
    policy.observe(done(6, 0, drafted=drafted, ended=ended))
    assert policy.state_dict() == before


def test_a_cut_round_counts_what_it_accepted_and_no_refusal(done):
    policy = ThompsonConfig(discount=1.0, max_gamma=4).build()
    policy.observe(done(4, 2, ended="stop"))
    assert policy.export() == {"draft/0/accepted": 1.0, "draft/1/accepted": 1.0}


def test_absorbing_shares_experience_but_not_the_generator(done):
    config = ThompsonConfig(discount=1.0)
    taught, pupil = config.build(), config.build()
    for _ in range(5):
        taught.observe(done(3, 1))
    generator = pupil.state_dict()["random"]
    pupil.absorb(taught.export())
    assert pupil.state_dict()["known"] == taught.state_dict()["known"]
    assert pupil.state_dict()["random"] == generator
