"""Trees in replay: what a recorded draft's further choices would have come to."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.backends.toy import ToyDraft, ToyTarget
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.errors import TraceError
from paceline.core.records import Plan
from paceline.core.sampling import GREEDY
from paceline.core.testing.doubles import ScriptedPolicy
from paceline.core.trace import TraceWriter
from paceline.lab.recording.reader import read_recording
from paceline.lab.recording.recorder import Recorder
from paceline.lab.recording.writer import write_recording
from paceline.lab.replay.partial_traces import partly_recorded
from paceline.lab.replay.run import replay_policies
from paceline.lab.replay.simulator import Simulator, recorded_decoder
from paceline.lab.replay.trees import Ranks
from paceline.lab.workloads.prompts import Prompt
from paceline.lab.workloads.synthetic import CHOICES, made_up_recording


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 6), st.integers(0, 20), st.integers(1, 4))
def test_a_replayed_tree_accepts_what_its_ranks_say(gamma, more, width):
    recording = made_up_recording("trees-flat", texts=1, tokens=60)
    (text,) = recording
    policy = ScriptedPolicy([Plan(gamma, nodes=gamma + more, width=width)])
    rounds = []
    Simulator(recording.header, policy, on_round=rounds.append).play(text)
    ranks, known = text.drafts["draft"].ranks.tolist(), Ranks(text.drafts["draft"].ranks.tolist(), 4)
    assert sum(done.emitted for done in rounds) == len(text.tokens)
    for done in rounds:
        assert tuple(ranks[done.position : done.position + done.accepted]) == done.ranks
        if done.plan.nodes and done.ended is None:
            shape = known.shape(done.plan.gamma, done.plan.nodes, done.plan.width)
            assert done.nodes == len(shape)
            missed = ranks[done.position + done.accepted]
            assert not 0 <= missed < done.offered[-1]


def test_a_tree_of_width_one_comes_to_what_the_chain_does():
    recording = made_up_recording("trees-flat", texts=2, tokens=200)
    results = replay_policies(recording, ["static-4", "static:gamma=4:nodes=4:width=1"])
    chain, tree = (
        [each.totals.accepted for each in results if each.policy.startswith(name)]
        for name in ("static-4", "static:")
    )
    assert chain == tree


def test_trees_pay_where_verification_is_flat_and_auto_finds_out_on_either():
    seconds = {}
    for cell in ("trees-flat", "trees-steep"):
        recording = made_up_recording(cell, texts=4, tokens=500)
        names = ["auto", "auto:max_nodes=0", "static:gamma=4:nodes=16", "static-2"]
        for each in replay_policies(recording, names):
            key = cell, each.policy
            seconds[key] = seconds.get(key, 0.0) + each.seconds
    assert seconds["trees-flat", "auto"] < 0.8 * seconds["trees-flat", "auto:max_nodes=0"]
    assert seconds["trees-flat", "auto"] < 1.02 * seconds["trees-flat", "static:gamma=4:nodes=16"]
    assert seconds["trees-steep", "auto"] < 1.01 * seconds["trees-steep", "auto:max_nodes=0"]


def test_ranks_are_written_and_read(tmp_path):
    recording = made_up_recording("trees-flat", texts=2, tokens=50)
    path = tmp_path / "trees.jsonl.zst"
    write_recording(path, recording)
    again = read_recording(path)
    assert again.header.drafts["draft"].choices == len(CHOICES)
    for text, other in zip(recording, again, strict=True):
        assert np.array_equal(text.drafts["draft"].ranks, other.drafts["draft"].ranks)


def test_ranks_that_contradict_what_was_agreed_are_refused(tmp_path):
    recording = made_up_recording("trees-flat", texts=1, tokens=20)
    (text,) = recording
    starts = text.drafts["draft"]
    wrong = replace(text, drafts={"draft": replace(starts, ranks=np.full(20, 1, np.int8))})
    source = replace(recording, texts=[wrong])
    path = tmp_path / "trees.jsonl"
    write_recording(path, source)
    with pytest.raises(
        TraceError, match="first choices that are right are not the tokens that are agreed on"
    ):
        list(read_recording(path))


def test_a_decoder_on_record_decodes_by_trees():
    recording = made_up_recording("trees-flat", texts=1, tokens=50)
    (text,) = recording
    decoder = recorded_decoder(recording.header, text, ScriptedPolicy([Plan(4, nodes=16, width=3)]))
    assert decoder.generate(text.prompt).tokens == text.tokens


def test_choices_of_a_real_draft_are_recorded_and_replayed():
    target = ToyTarget(seed=3, vocabulary=8)
    draft, prompt = ToyDraft(target, agreement=0.5), Prompt("toy", "toy", (5, 6))
    recorder = Recorder(
        plain=SpeculativeDecoder(target, {}, ScriptedPolicy([0])),
        drafts={"draft": draft},
        sampling=GREEDY,
        longest=6,
        signals=False,
        choices=4,
    )
    info, text = recorder.info(prompt.tokens), recorder.text(prompt, 120)
    assert info["draft"].choices == 4
    assert {0, 1, -1} <= set(text.drafts["draft"].ranks.tolist())
    header = replace(made_up_recording("trees-flat").header, drafts=info)
    plan = Plan(1, nodes=3, width=3)  # of one level, so that the shape does not hang on probabilities
    real, replayed = ScriptedPolicy([plan]), []
    SpeculativeDecoder(target, {"draft": draft}, real).generate(prompt.tokens, max_new_tokens=120)
    Simulator(header, ScriptedPolicy([plan]), on_round=replayed.append).play(text)
    assert [(done.position, done.tokens, done.tree) for done in real.rounds] == [
        (done.position, done.tokens, done.tree) for done in replayed
    ]
    without = replace(recorder, choices=0)
    assert without.info(prompt.tokens)["draft"].choices == 0
    assert without.text(prompt, 20).drafts["draft"].ranks is None


def test_a_trace_of_trees_tells_what_chains_would_have_come_to(tmp_path):
    target = ToyTarget(seed=3)
    path = tmp_path / "trace.jsonl"
    policy = ScriptedPolicy([Plan(3, nodes=8, width=3), 2, 0])
    with TraceWriter(path) as writer:
        decoder = SpeculativeDecoder(target, {"draft": ToyDraft(target, 0.6)}, policy, trace=writer)
        text = decoder.generate([5, 6], max_new_tokens=200).tokens
    (recorded,) = partly_recorded(path)
    starts = recorded.drafts["draft"]
    for start in range(len(text)):
        context = [5, 6, *text[:start]]
        right = 0
        while right < starts.known[start] and ToyDraft(target, 0.6).guess(context)[0] == text[start + right]:
            context.append(text[start + right])
            right += 1
        assert starts.agreed[start] == right or not starts.known[start]
