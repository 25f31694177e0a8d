from random import Random

import pytest

from paceline.policies.baselines.fsm import FsmConfig
from paceline.testing import play


def test_every_transition_between_three_states(start, done):
    """2 saturates downwards, 4 upwards, and each state leads to its neighbours alone."""
    after = {}
    for state in (2, 3, 4):
        for accepted in (state, state - 1):
            policy = FsmConfig(first_gamma=state, min_gamma=2, max_gamma=4).build()
            assert policy.plan(start()).gamma == state
            policy.observe(done(state, accepted))
            after[state, accepted == state] = policy.plan(start()).gamma
    assert after == {(2, True): 3, (2, False): 2, (3, True): 4, (3, False): 2, (4, True): 4, (4, False): 3}


@pytest.mark.parametrize(("alpha", "settled"), [(0.7, 1.94), (0.8, 3.11), (0.9, 6.58)])
def test_it_settles_where_every_second_block_is_accepted_whatever_drafting_costs(alpha, settled):
    random = Random(0)
    rounds = play(FsmConfig().build(), [random.random() < alpha for _ in range(6000)])
    late = [r.plan.gamma for r in rounds[100:-5]]
    assert alpha**settled == pytest.approx(0.5, abs=0.01)
    assert sum(late) / len(late) == pytest.approx(settled, abs=0.5)
