from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.backends.toy import ToyDraft, ToyTarget
from paceline.core.clock import CostTableClock
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.errors import ContractError, TraceError
from paceline.core.testing.doubles import FixedCosts, ScriptedPolicy
from paceline.core.trace import TraceWriter
from paceline.lab.replay.partial_traces import coverage, partly_recorded
from paceline.lab.replay.simulator import Simulator
from paceline.policies.static import StaticConfig


class Alone(ToyDraft):
    """A toy draft that says that its tokens depend on the context alone, which is so."""

    def open(self, prompt):
        session = super().open(prompt)
        session.memoryless = True
        return session


def decoder(policy, *, seed=0, draft=ToyDraft, trace=None, tokens=30):
    target = ToyTarget(seed=seed)
    return SpeculativeDecoder(
        target,
        {"small": draft(target, agreement=0.7)},
        policy,
        clock=CostTableClock(FixedCosts(0.1, lambda length, context: 1 + 0.01 * length)),
        trace=trace,
        max_new_tokens=tokens,
    )


def traced(path, plans, **options):
    with decoder(ScriptedPolicy(plans), trace=TraceWriter(path, {}), **options) as running:
        for first in (5, 6, 7):
            running.generate([first, 2, 3])
    return path


@settings(deadline=None, max_examples=40)
@given(
    recorded=st.lists(st.integers(0, 5), min_size=1, max_size=4).filter(any),
    asked=st.lists(st.integers(0, 5), min_size=1, max_size=4),
    seed=st.integers(0, 20),
    draft=st.sampled_from([ToyDraft, Alone]),
)
def test_what_a_trace_answers_is_what_would_have_happened(tmp_path_factory, recorded, asked, seed, draft):
    path = traced(tmp_path_factory.mktemp("partly") / "trace.jsonl", recorded, seed=seed, draft=draft)
    recording = partly_recorded(path)
    for first, text in zip((5, 6, 7), recording, strict=True):
        rounds = []
        player = Simulator(recording.header, ScriptedPolicy(asked), on_round=rounds.append)
        with suppress(TraceError, ContractError):  # what is answered before is right all the same
            player.play(text)
        really = list(decoder(ScriptedPolicy(asked), seed=seed, draft=draft).rounds([first, 2, 3]))
        for found, real in zip(rounds, really, strict=False):
            kept = ("plan", "drafted", "accepted", "emitted", "tokens", "ended")
            assert [getattr(found, key) for key in kept] == [getattr(real, key) for key in kept]
            for name, state in real.drafts.items():
                assert found.drafts[name].lag == state.lag


def test_the_policy_of_the_trace_is_answered_in_full_and_a_longer_gamma_is_not(tmp_path):
    recording = partly_recorded(traced(tmp_path / "trace.jsonl", [3]))
    same = coverage(recording, StaticConfig(gamma=3))
    assert (same.answered, same.texts, same.tokens) == (3, 3, 90)
    assert same.rate is not None
    recording = partly_recorded(traced(tmp_path / "trace.jsonl", [2, 3]))
    longer = coverage(recording, StaticConfig(gamma=3))
    assert longer.answered < longer.texts == 3
    assert longer.rate is None
    assert "does not know what 3 tokens of 'small'" in longer.first


def test_plain_decoding_is_always_answered(tmp_path):
    recording = partly_recorded(traced(tmp_path / "trace.jsonl", [3, 0]))
    assert coverage(recording, StaticConfig(gamma=0)).rate is not None


def test_drafts_that_depend_on_the_context_alone_answer_more(tmp_path):
    shorter = StaticConfig(gamma=1)
    found = [
        coverage(partly_recorded(traced(tmp_path / "trace.jsonl", [3, 2], draft=draft)), shorter)
        for draft in (ToyDraft, Alone)
    ]
    assert found[1].answered >= found[0].answered
    assert found[0].answered == 0


def test_a_trace_without_finished_requests_is_refused(tmp_path):
    with TraceWriter(tmp_path / "trace.jsonl", {}) as trace:
        trace.begin([1], 4)
    with pytest.raises(TraceError, match="no request was finished"):
        partly_recorded(tmp_path / "trace.jsonl")
