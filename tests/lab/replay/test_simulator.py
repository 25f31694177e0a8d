import hashlib
import re
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_recordings import lab_recordings

from paceline.core.costs import LiveCosts
from paceline.core.errors import ContractError, TraceError
from paceline.core.records import SIGNALS, Plan, StopRule
from paceline.core.testing.doubles import BREACHES, ChaoticPolicy, LawlessPolicy, ScriptedPolicy
from paceline.lab.recording.latency import DraftTimes, LatencyProfile
from paceline.lab.recording.model import DraftInfo, Header, Recording, Starts, Text, TextsInMemory
from paceline.lab.replay.simulator import LatencyClock, Simulator, recorded_decoder
from paceline.lab.replay.tables import ReplayText


def decoded(recording, policy):
    """Return the rounds of every text under a decoder, whose cost model learns at once."""
    clock, costs, rounds = LatencyClock(recording.header.costs), LiveCosts(), []
    for text in recording:
        decoder = recorded_decoder(recording.header, text, policy, clock=clock, costs=costs)
        rounds.append(list(decoder.rounds(text.prompt or [1] * text.prompt_tokens)))
    return rounds


def simulated(recording, policy):
    """Return the rounds of every text under the simulator."""
    rounds = []

    def note(done):
        rounds[-1].append(done)

    simulator = Simulator(recording.header, policy, on_round=note)
    for text in recording:
        rounds.append([])
        simulator.play(text)
    return rounds


class Whimsical(ChaoticPolicy):
    """Any lawful plan, but with rules only by signals that the planned draft delivers, and sometimes no look."""

    def __init__(self, seed, header, needs):
        super().__init__(seed, list(header.drafts), signals=needs, max_gamma=header.longest)
        self._header = header

    def plan(self, start):
        tokens = start.tokens[-3:]
        plan = super().plan(start)
        stop, score = plan.stop, plan.score
        if stop is not None and stop.signal not in self._header.drafts[plan.draft].signals:
            stop = None
        if self._header.mode == "sampled":
            score = frozenset()
        # What is shown comes back in the plan, so that it is compared too.
        shown = (
            f"{tokens} {start.costs.verify_s(3, 9)} {start.perplexity}"
            if self._random.random() < 0.3
            else None
        )
        return Plan(plan.gamma, plan.draft, stop, shown, score, use_signals=self._random.random() < 0.8)


@settings(deadline=None)
@given(lab_recordings(most_tokens=30), st.integers(0, 99), st.sets(st.sampled_from(sorted(SIGNALS))))
def test_every_round_is_that_of_a_decoder_under_a_policy_that_does_anything(recording, seed, needs):
    if all(text.prompt is not None for text in recording):
        one, other = (Whimsical(seed, recording.header, frozenset(needs)) for _ in range(2))
        assert simulated(recording, one) == decoded(recording, other)


def made(*, longest=4, signals=None, prompt=(5, 6, 7), mode="greedy", agreed=(2, 1, 0, 2, 1, 0)):
    """Return the header and one text of six tokens with one draft."""
    count = len(agreed)
    profile = LatencyProfile(
        {1: 1.0, 2: 1.5}, 0, 0.0, {"small": DraftTimes({0: 0.0, 1: 0.25}, {1: 0.5})}, 0.125
    )
    info = DraftInfo(caches=True, short=1, signals=frozenset(signals or ()), match_lengths=False, scores=True)
    offered = np.full(count, longest, np.int16)
    starts = Starts(offered, np.array(agreed, np.int16), None, None, signals or {})
    header = Header({}, longest, mode, {"small": info}, profile)
    text = Text("t", "k", "", 3, prompt, count, tuple(range(count)), "length", True, None, {"small": starts})
    return header, text


def outcome(policy, header, text):
    return Simulator(header, policy).play(text)


def test_an_outcome_sums_up_what_can_be_counted_by_hand():
    found = outcome(ScriptedPolicy([3, 0, 1]), *made())
    # From 0: 3 drafted, 2 accepted, lag 2; from 3: plain; from 4: 1 drafted after a lag of 1, accepted and cut.
    assert (found.emitted, found.rounds, found.drafted, found.accepted) == (6, 3, 4, 3)
    assert found.draft_s == (0.75 + 1.0) + (0.25 + 0.5)
    assert found.verify_s == 2.5 + 1.0 + 1.5
    assert found.seconds == found.draft_s + found.verify_s + 3 * 0.125
    assert found.gammas == {0: 1, 1: 1, 3: 1}
    assert found.drafts == {"": 1, "small": 2}
    assert found.reached == (2, 1, 1)
    assert found.agreed == (2, 1)


@pytest.mark.parametrize("breach", BREACHES)
def test_a_breach_is_blamed_on_the_policy(breach):
    needs = frozenset({"top1"})
    header, text = made(signals={"top1": np.ones((6, 4), np.float32)})
    with pytest.raises(ContractError, match="LawlessPolicy"):
        outcome(LawlessPolicy(breach, after=1, needs=needs), header, text)


def test_a_gamma_beyond_the_longest_proposal_recorded_is_refused():
    with pytest.raises(ContractError, match="this engine runs gamma 0, 1, 2, found 3"):
        outcome(ScriptedPolicy([3]), *made(longest=2))


class Reader(ScriptedPolicy):
    """Reads the token at a place; looks away when it cannot, if it is sly."""

    def __init__(self, place, *, sly=False):
        super().__init__([1])
        self._place, self._sly = place, sly

    def plan(self, start):
        try:
            if len(start.tokens) > 3:
                start.tokens[self._place]
        except TraceError:
            if not self._sly:
                raise
        return super().plan(start)


def test_a_policy_may_read_the_output_and_the_length_of_a_prompt_that_was_not_kept():
    assert outcome(Reader(3), *made(prompt=None)).emitted == 6


@pytest.mark.parametrize("sly", [False, True])
def test_a_policy_that_reads_a_prompt_that_was_not_kept_is_told_the_remedy(sly):
    with pytest.raises(TraceError, match="record with --keep-prompts"):
        outcome(Reader(2, sly=sly), *made(prompt=None))
    header, text = made(prompt=None)
    replayed = ReplayText.of(text, header)
    for place in (2, 3):  # the next policy on the same text is not blamed for it
        with suppress(TraceError):
            Simulator(header, Reader(place, sly=sly)).play(replayed)
    assert Simulator(header, Reader(3)).play(replayed).emitted == 6
    assert outcome(Reader(2, sly=sly), *made()).emitted == 6


class Scorer(ScriptedPolicy):
    def plan(self, start):
        return Plan(0, score=frozenset({"small"}))


def test_scores_of_drawn_texts_are_refused():
    assert outcome(Scorer([0]), *made()).score_s > 0
    with pytest.raises(TraceError, match="record greedily"):
        outcome(Scorer([0]), *made(mode="sampled"))


def test_a_signal_that_was_not_recorded_at_a_place_is_refused_only_where_it_is_asked_for():
    about = np.full((6, 4), 0.9, np.float32)
    about[0, 1] = np.nan
    header, text = made(signals={"top1": about})
    rule = StopRule("top1", below=0.5)
    assert outcome(ScriptedPolicy([Plan(1, stop=rule)]), header, text).emitted == 6
    assert outcome(ScriptedPolicy([2]), header, text).emitted == 6
    with pytest.raises(TraceError, match=re.escape("does not hold top1")):
        outcome(ScriptedPolicy([Plan(2, stop=rule)]), header, text)


def test_looking_at_signals_takes_its_time():
    header, text = made(signals={"top1": np.ones((6, 4), np.float32)})
    times = replace(header.costs.drafts["small"], look_s=0.5)
    dear = replace(header, costs=replace(header.costs, drafts={"small": times}))
    plain, rule = ScriptedPolicy([2]), ScriptedPolicy([Plan(2, stop=StopRule("top1", below=0.5))])
    blind, looked = outcome(plain, dear, text), outcome(rule, dear, text)
    assert looked.drafted == blind.drafted
    assert looked.seconds == blind.seconds + 0.5 * blind.drafted


def test_cost_models_that_learn_late_answer_as_those_that_learn_at_once():
    """Long enough for every window and refit; the questions come at odd moments."""

    class Asking(ScriptedPolicy):
        def plan(self, start):
            plan = super().plan(start)
            if start.index % self.every:
                return plan
            costs = start.costs
            about = costs.draft_s("small", 3, start.drafts["small"].lag), costs.verify_s(4, start.context)
            about = *about, *costs.round_s("small", 3, start.context)[0][:4]
            return replace(plan, reason=hashlib.sha256(repr(about).encode()).hexdigest())

    random = np.random.default_rng(0)
    header, text = made(agreed=random.integers(0, 2, 600))
    recording = Recording(header, (), TextsInMemory([text]))
    for every in (1, 7, 100):
        Asking.every = every
        plans = [4, 0, 2, 1, 3]
        assert simulated(recording, Asking(plans)) == decoded(recording, Asking(plans))
