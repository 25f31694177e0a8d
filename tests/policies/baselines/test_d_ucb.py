"""UCB with a fading memory."""

from itertools import pairwise

import pytest

from paceline.core.records import name_draft
from paceline.core.testing.playing import settle
from paceline.policies.baselines.d_ucb import DUcbConfig
from paceline.policies.baselines.ucb import UcbConfig
from paceline.policies.static import StaticConfig
from paceline.testing import FixedCosts, play

from ..texts import text


def test_sums_and_rounds_fade_by_the_discount_computed_by_hand(start):
    """Arm 0, arm 0 (counted), arm 1, arm 1 (counted), then one more of either, at a discount of 1/2."""
    policy = DUcbConfig(gammas=(0, 2), discount=0.5, cold_start=1000.0, exploration=0.0).build()
    for accepted in (0, 0, 2, 2):
        plan = name_draft(policy.plan(start()), start().drafts)
        policy.observe(settle(start(), plan, drafted=plan.gamma, accepted=accepted))
    assert policy.export() == {
        "0/rounds": 0.5, "0/gained": 0.5, "0/spent": 5.0,
        "2/rounds": 1.0, "2/gained": 3.0, "2/spent": 12.0,
    }  # fmt: skip
    plan = name_draft(policy.plan(start()), start().drafts)
    assert plan.gamma == 2  # 3/12 against 0.5/5
    policy.observe(settle(start(), plan, drafted=2, accepted=0))
    assert policy.export()["2/gained"] == 3.0 / 2 + 1.0
    assert policy.export()["2/spent"] == 12.0 / 2 + 12.0
    assert policy.export()["0/rounds"] == 0.25


def test_an_arm_that_rests_grows_doubtful_and_is_tried_again():
    policy = DUcbConfig(gammas=(0, 4), discount=0.9).build()
    rounds = play(policy, text(0.8, 3000), costs=FixedCosts(0.05, 1.0))
    rests = [done.index for done in rounds[100:] if done.plan.gamma == 0]
    assert rests
    assert max(b - a for a, b in pairwise(rests)) < 100


@pytest.mark.parametrize(("alpha", "share"), [(0.5, 0.3), (0.8, 0.1), (0.9, 0.05)])
@pytest.mark.parametrize("seed", [0, 1])
def test_on_steady_text_it_comes_close_to_the_best_of_its_arms(alpha, share, seed, speed):
    bits = text(alpha, 4000, seed)
    best = max(speed(StaticConfig(gamma=g).build(), bits, share=share) for g in DUcbConfig().gammas)
    assert speed(DUcbConfig().build(), bits, share=share) >= 0.93 * best


def test_where_the_text_changes_it_beats_a_memory_that_never_fades(speed):
    bits = text(0.9, 3000) + text(0.1, 3000)
    assert speed(DUcbConfig().build(), bits) > speed(UcbConfig().build(), bits)
