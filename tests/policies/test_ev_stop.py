"""Stopping where the next token is not worth its time."""

from random import Random

from paceline.core.records import Plan, TokenSignals
from paceline.core.testing.playing import settle
from paceline.policies.ev_stop import EvStopConfig
from paceline.policies.survival import SurvivalConfig
from paceline.testing import FixedCosts, play

DEAR = FixedCosts(3.0, 10.0)


def speaking(acceptance_probs, seed=0):
    """Return bits that come true as often as the draft says, and what it says."""
    random = Random(seed)
    return [random.random() < prob for prob in acceptance_probs], [
        TokenSignals(0, top1=prob, prob=prob, entropy=1.0, margin=0.1, token=0) for prob in acceptance_probs
    ]


def text(tokens=4000, seed=0):
    random = Random(seed)
    return speaking([random.choice([0.15, 0.95, 0.95]) for _ in range(tokens)], seed)


def seconds(config, bits, signals, costs=DEAR):
    return sum(done.total_s for done in play(config.build(), bits, costs=costs, signals={"draft": signals}))


def test_a_draft_that_knows_when_it_is_wrong_is_stopped_in_time():
    bits, signals = text()
    free, stopped = seconds(SurvivalConfig(), bits, signals), seconds(EvStopConfig(), bits, signals)
    assert stopped < 0.92 * free


def test_probabilities_that_tell_nothing_cost_next_to_nothing():
    bits, _ = text()
    dumb = [TokenSignals(0, top1=0.7, prob=0.7, entropy=1.0, margin=0.1, token=0)] * len(bits)
    assert seconds(EvStopConfig(), bits, dumb) < 1.02 * seconds(SurvivalConfig(), bits, dumb)


def trained(start, costs, rounds=60):
    """Return a policy that has learnt: tokens of .9 are accepted, those of .1 refused, and six in ten are of .9."""
    policy, random = EvStopConfig(discount=1.0).build(), Random(0)
    for _ in range(rounds):
        here = start(costs=costs)
        plan = policy.plan(here)
        if plan.gamma == 0:
            policy.observe(settle(here, plan, drafted=0, accepted=0))
            continue
        right = [random.random() < 0.6 for _ in range(4)]
        signals = tuple(TokenSignals(i, prob=0.9 if bit else 0.1) for i, bit in enumerate(right))
        accepted = right.index(False) if False in right else 4
        policy.observe(settle(here, plan, drafted=4, accepted=accepted, signals=signals))
    return policy


def test_it_goes_on_after_a_token_it_trusts_and_not_after_one_it_does_not(start):
    policy = trained(start, DEAR)
    for prob, goes_on in ((0.9, True), (0.1, False)):
        assert policy.plan(start(costs=DEAR)).gamma == 16, "the end is left open"
        assert policy.keep_drafting(TokenSignals(0, prob=prob)) is goes_on


def test_drafting_for_nothing_never_ends_before_max_gamma(start):
    costs = FixedCosts(0.0, 10.0)
    policy = trained(start, costs)
    plan = policy.plan(start(costs=costs))
    assert all(policy.keep_drafting(TokenSignals(i, prob=0.5)) for i in range(plan.gamma - 1))


def test_it_looks_past_a_step_of_the_verification_time(start):
    """Lengths 3 and 4 are dear, 5 is not: a rule that looks one token ahead would stop at 2."""
    steps = FixedCosts(0.01, lambda length, _: 10.0 + (2.0 if length > 3 else 0.0))
    policy = trained(start, steps)
    policy.plan(start(costs=steps))
    assert policy.keep_drafting(TokenSignals(0, prob=0.9))
    assert policy.keep_drafting(TokenSignals(1, prob=0.9))


def test_a_draft_that_does_not_tell_drafts_what_survival_plans(start):
    policy, other = EvStopConfig().build(), SurvivalConfig().build()
    for accepted in (4, 2, 3):
        here = start(costs=DEAR)
        plan = policy.plan(here)
        assert plan.gamma == other.plan(here).gamma
        done = settle(here, Plan(max(plan.gamma, 4), "draft"), drafted=4, accepted=accepted)
        policy.observe(done)
        other.observe(done)
