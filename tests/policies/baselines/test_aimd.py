from paceline.policies.baselines.aimd import AimdConfig
from paceline.testing import play


def test_the_rule_of_transformers_step_by_step(start, done):
    """num_assistant_tokens: 5, all accepted 7, 9, then a refusal each time down to the floor of 1, then up again."""
    policy = AimdConfig().build()
    gammas = []
    for accepted in (5, 7, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3):
        gamma = policy.plan(start()).gamma
        gammas.append(gamma)
        policy.observe(done(gamma, min(accepted, gamma)))
    assert gammas == [5, 7, 9, 8, 7, 6, 5, 4, 3, 2, 1, 1, 1, 3]
    assert policy.plan(start()).gamma == 5


def test_a_short_proposal_that_was_accepted_as_a_whole_counts_as_full_acceptance(start, done):
    policy = AimdConfig().build()
    policy.observe(done(5, 2, drafted=2))
    assert policy.plan(start()).gamma == 7


def test_steps_and_bounds_can_be_chosen(start, done):
    policy = AimdConfig(first_gamma=4, increase=3, decrease=2, min_gamma=3, max_gamma=8).build()
    gammas = []
    for accepted in (True, True, True, False, False, False, False):
        gamma = policy.plan(start()).gamma
        gammas.append(gamma)
        policy.observe(done(gamma, gamma if accepted else 0))
    assert gammas == [4, 7, 8, 8, 6, 4, 3]


def test_it_climbs_on_easy_text_and_comes_down_on_hard_text():
    rounds = play(AimdConfig().build(), [True] * 300 + [False] * 60)
    assert [r.plan.gamma for r in rounds[:8]] == [5, 7, 9, 11, 13, 15, 16, 16]
    assert rounds[-10].plan.gamma == 1
