"""Behaviour of the online policy over a whole text."""

import pytest

from paceline.policies.online import OnlineConfig
from paceline.testing import FixedCosts, play

from .texts import text


def test_it_warms_up_with_the_first_gamma(start):
    plan = OnlineConfig(first_gamma=5).build().plan(start())
    assert (plan.gamma, plan.reason) == (5, "warm-up")


def test_where_drafting_cannot_pay_it_decodes_plainly_and_probes():
    rounds = play(OnlineConfig(probe_every=8).build(), text(0.02, 800), costs=FixedCosts(3.0, 10.0))
    late = rounds[100:-2]
    assert {r.plan.gamma for r in late} == {0, 1}
    assert all(r.plan.reason == "probe" for r in late if r.plan.gamma)
    assert sum(r.plan.gamma for r in late) == pytest.approx(len(late) / 9, rel=0.2)


def test_it_recovers_when_the_text_becomes_easy():
    rounds = play(OnlineConfig().build(), text(0.02, 400) + [True] * 400, costs=FixedCosts(3.0, 10.0))
    assert sum(r.plan.gamma == 0 for r in rounds[100:300]) > 150
    assert min(r.plan.gamma for r in rounds[-8:-3]) >= 4


def test_a_draft_that_could_not_pay_even_if_always_right_is_probed_rarely():
    rounds = play(OnlineConfig(probe_every=4).build(), text(0.3, 1200), costs=FixedCosts(30.0, 10.0))
    drafted = [r for r in rounds if r.plan.gamma]
    assert 0 < sum(r.plan.reason == "probe" for r in drafted) <= len(rounds) / 32 + 1


@pytest.mark.parametrize(("alpha", "share", "optimum"), [(0.5, 0.1, 2), (0.8, 0.1, 6), (0.9, 0.2, 7)])
def test_it_settles_near_the_optimum(alpha, share, optimum):
    policy = OnlineConfig(window=400, prior=None).build()
    rounds = play(policy, text(alpha, 6000), costs=FixedCosts(share, 1.0))
    assert all(abs(r.plan.gamma - optimum) <= 1 for r in rounds[-120:-20])


def test_a_miss_of_the_draft_says_nothing_about_acceptance(start, done):
    policy, twin = OnlineConfig().build(), OnlineConfig().build()
    for p in (policy, twin):
        p.observe(done(4, 3))
    for _ in range(50):
        policy.observe(done(4, 0, drafted=0))
    assert policy.plan(start()) == twin.plan(start())
    assert policy.state_dict() == twin.state_dict()


def test_a_window_from_another_configuration_keeps_its_latest_rounds(done):
    long, short = OnlineConfig(window=20).build(), OnlineConfig(window=2).build()
    for accepted in (0, 1, 2, 3, 4):
        long.observe(done(4, accepted))
    short.load_state_dict(long.state_dict())
    assert short.state_dict()["rounds"] == [[3, 1], [4, 0]]
