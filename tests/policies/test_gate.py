"""The gate, over whole texts and window by window."""

from dataclasses import replace
from itertools import groupby
from random import Random

import pytest

from paceline.core.errors import CapabilityError
from paceline.core.guards.policy import check_fit
from paceline.core.records import Capabilities
from paceline.policies.gate import GateConfig, GateState
from paceline.policies.online import OnlineConfig
from paceline.policies.static import StaticConfig
from paceline.policies.throughput import Speed
from paceline.testing import FixedCosts, play

COSTS = FixedCosts(1.0, 10.0)  # a draft token is .1 of a verification
FOUR = StaticConfig(gamma=4)


def gated(policy=FOUR, **options):
    return GateConfig(policy=policy, **options).build()


def seconds(rounds):
    return sum(done.total_s for done in rounds)


def rests(rounds):
    """Return the lengths of the runs of rounds in which the gate is off."""
    runs = groupby(done.plan.reason == "gate-off" for done in rounds)
    return [len(list(run)) for off, run in runs if off]


def reasons(rounds):
    return {done.plan.reason for done in rounds}


def test_where_nothing_is_accepted_it_loses_less_than_two_percent_against_plain_decoding():
    rounds = play(gated(), [False] * 4000, costs=COSTS)
    assert seconds(rounds) <= 1.02 * 4000 * 10.0
    assert seconds(play(FOUR.build(), [False] * 4000, costs=COSTS)) > 1.39 * 4000 * 10.0


def test_the_bound_holds_when_each_probe_must_read_what_the_draft_missed():
    costs = FixedCosts(1.0, 10.0, catch_up_s=0.05)
    assert seconds(play(gated(), [False] * 4000, costs=costs)) <= 1.02 * 4000 * 10.0


def test_the_interval_between_failing_probes_doubles_up_to_eight_times():
    found = rests(play(gated(), [False] * 12_000, costs=COSTS))
    assert found[:3] == [256, 512, 1024]
    assert set(found[5:-1]) == {2048}  # the fifth ended early: the context had doubled


@pytest.mark.parametrize("bad", [300, 900, 2500, 5000])
def test_it_is_on_again_within_eight_intervals_and_two_windows_after_acceptance_returns(bad):
    rounds = play(gated(), [False] * bad + [True] * 6000, costs=COSTS)
    on = next(
        i
        for i, done in enumerate(rounds)
        if done.position >= bad and done.plan.reason is None and done.plan.gamma
    )
    assert rounds[on].position <= bad + 8 * 256 + 17 * 5
    assert reasons(rounds[on:-1]) <= {None, "gate-baseline"}


def test_after_a_probe_that_succeeded_the_interval_is_short_again():
    rounds = play(gated(), [False] * 3000 + [True] * 3000 + [False] * 3000, costs=COSTS)
    assert rests([done for done in rounds if done.position > 6000])[0] == 256


@pytest.mark.parametrize("alpha", [0.7, 0.95])
def test_where_drafting_pays_it_costs_less_than_one_percent(alpha):
    random = Random(1)
    bits = [random.random() < alpha for _ in range(20_000)]
    assert seconds(play(gated(), bits, costs=COSTS)) < 1.01 * seconds(play(FOUR.build(), bits, costs=COSTS))


def test_an_inner_policy_that_rests_by_itself_is_never_switched_off():
    rounds = play(gated(OnlineConfig()), [False] * 6000, costs=FixedCosts(3.0, 10.0))
    assert sum(done.plan.gamma == 0 for done in rounds) > 5000
    assert "gate-off" not in reasons(rounds)


def test_rounds_of_gamma_0_of_the_inner_policy_measure_plain_decoding():
    policy = gated(StaticConfig(gamma=0), refresh_every=64)
    rounds = play(policy, [False] * 1000, costs=COSTS)
    assert reasons(rounds) == {None}
    assert policy.state.plain.rate == pytest.approx(0.1)


def test_the_inner_policy_sees_only_the_rounds_it_planned():
    class Counting(type(FOUR.build())):
        planned = seen = 0

        def plan(self, start):
            self.planned += 1
            return super().plan(start)

        def observe(self, done):
            self.seen += done.plan.gamma == 4 or done.ended is not None

    inner = Counting(FOUR)
    policy = type(gated())(GateConfig(policy=FOUR), inner)
    rounds = play(policy, [False] * 2000, costs=COSTS)
    assert inner.planned == inner.seen == sum(done.plan.gamma > 0 for done in rounds)
    assert inner.seen < 100


def test_a_machine_that_becomes_slower_does_not_close_the_gate():
    slower = FixedCosts(1.0, lambda _length, context: 10.0 if context < 1500 else 100.0)
    rounds = play(gated(), [True] * 4000, costs=slower)
    assert (
        rounds[-1].emitted / rounds[-1].total_s < 0.1
    )  # slower than plain decoding was when it was measured
    assert sum(done.plan.reason == "gate-baseline" for done in rounds if done.position > 1500) >= 9
    assert "gate-off" not in reasons(rounds)


def test_a_gain_within_the_margin_moves_nothing():
    # gamma 4 with nothing accepted takes 14 against 10: plain decoding is ahead by 40 %.
    assert "gate-off" not in reasons(play(gated(margin=0.45), [False] * 3000, costs=COSTS))
    assert "gate-off" in reasons(play(gated(margin=0.35), [False] * 3000, costs=COSTS))


SLOW = FixedCosts(
    0.1, 1.0
)  # plain decoding is expected to deliver 1 token a second, as speculation does below


def step(policy, start, done, gamma, accepted, seconds, **more):
    plan = policy.plan(start(**{"costs": SLOW} | more))
    assert (plan.gamma > 0) == (gamma > 0), plan
    policy.observe(replace(done(gamma, accepted), total_s=seconds))
    return plan


def figures(speed):
    return [speed.rate, speed.latest, speed.deviation]


def test_the_estimates_of_the_first_windows_worked_out_by_hand(start, done):
    policy = gated(window=2, probe_window=1)
    step(policy, start, done, 4, 0, 99.0)  # not judged
    step(policy, start, done, 4, 1, 2.0)
    step(policy, start, done, 4, 3, 4.0)  # 2 + 4 tokens in 6 s
    assert figures(policy.state.drafting) == [1.0, 1.0, 0.0]
    assert step(policy, start, done, 0, 0, 99.0).reason == "gate-baseline"  # not judged
    step(policy, start, done, 0, 0, 0.5)
    assert figures(policy.state.plain) == [2.0, 2.0, 0.0]
    assert policy.state.agreeing == 1
    step(policy, start, done, 4, 0, 99.0)
    step(policy, start, done, 4, 0, 0.6)
    step(
        policy, start, done, 4, 1, 1.8
    )  # 3 tokens in 2.4 s, .25 above the rate: it and the deviation move by .075
    assert figures(policy.state.drafting) == pytest.approx([1.075, 1.25, 0.075])
    assert not policy.on
    assert step(policy, start, done, 0, 0, 1.0).reason == "gate-off"


def test_a_good_window_keeps_the_gate_on_though_the_estimate_remembers_bad_ones(start, done):
    for seconds, on in ((0.45, True), (0.7, False)):
        policy = gated(window=1)
        drafting, plain = Speed(1.0, 1.0, 0.0, 50), Speed(2.0, 2.0, 0.0, 50)
        policy.state = GateState(settling=False, drafting=drafting, plain=plain, agreeing=1)
        step(policy, start, done, 4, 0, seconds)
        assert policy.on is on


def test_half_of_the_deviations_is_a_margin_too(start, done):
    policy = gated(window=1, probe_window=1)
    for deviation, on in ((0.1, False), (0.6, True)):
        drafting, plain = Speed(1.0, 1.0, 0.0, 50), Speed(1.2, 1.2, deviation, 50)
        policy.state = GateState(settling=False, drafting=drafting, plain=plain, agreeing=1)
        step(policy, start, done, 4, 0, 1.0)
        assert policy.on is on


def test_a_round_that_was_ended_is_not_judged(start, done):
    policy = gated(window=1)
    step(policy, start, done, 4, 0, 1.0)
    policy.plan(start())
    before = policy.state_dict()
    policy.observe(done(4, 0, ended="eos"))
    after = policy.state_dict()
    assert after == before | {"waited": before["waited"] + 1}


def test_plain_decoding_is_measured_again_when_the_context_has_doubled(start, done):
    policy = gated(probe_every=10)
    plain, drafting = Speed(1.0, 1.0, 0.0, 1500), Speed(2.0, 2.0, 0.0, 1500)
    for context, reason in ((2999, None), (3000, "gate-baseline"), (1024, None), (750, None)):
        policy.state = GateState(drafting=drafting, plain=plain, waited=10)
        assert policy.plan(start(context=context)).reason == reason
    policy.state = GateState(drafting=drafting, plain=plain, waited=9)
    assert policy.plan(start(context=9000)).reason is None


@pytest.mark.parametrize(("plain_s", "measured"), [(0.9, True), (1.2, True), (1.3, False)])
def test_plain_decoding_is_not_measured_while_it_cannot_plausibly_be_faster(start, done, plain_s, measured):
    policy, costs = gated(window=2, probe_window=1), FixedCosts(0.1, plain_s)
    for _ in range(3):
        step(policy, start, done, 4, 1, 2.0, costs=costs)  # 1 token a second
    assert (policy.plan(start(costs=costs)).reason == "gate-baseline") is measured


def test_an_engine_that_always_drafts_is_refused():
    with pytest.raises(CapabilityError, match="rounds without drafting"):
        check_fit(gated(), Capabilities(zero_gamma=False), {})
