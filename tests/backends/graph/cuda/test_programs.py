"""Programs of fixed shape at their edges: prompts, idle drafts, spans, tiers, rules and threads."""

import threading

import pytest
import torch

from paceline.core.decoder import SpeculativeDecoder
from paceline.core.proposals import DraftControl
from paceline.core.records import Capabilities, Plan, StopRule
from paceline.core.testing.doubles import ScriptedPolicy
from paceline.testing import check_backend

from ...adversary import Adversary
from ...tiny_models import VOCABULARY, noisy_copy
from .programs import CONTEXT, made, model_of, pair, plainly

torch.set_num_threads(1)


def test_the_kit_finds_nothing():
    target, drafts = pair("llama")
    check_backend(lambda: target, lambda _: drafts["near"], logits=lambda session: session.logits().tolist())


def test_the_kit_finds_nothing_where_draft_and_target_share_no_runner():
    target, _ = pair("qwen3")
    _, drafts = pair("llama")
    # Another model on another runner: its proposals are read and handed over through the host.
    check_backend(lambda: target, lambda _: drafts["near"], max_examples=8)


@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 40, 79])
def test_a_prompt_of_any_length_is_read_to_the_same_text(length):
    prompt = tuple((7 + 13 * index * index) % VOCABULARY for index in range(length))
    target, drafts = pair("qwen3")
    script = Adversary([(6, "near", None, 9), (0, None, None, 1), (2, "near", None, 9)])
    found = SpeculativeDecoder(target, drafts, script, eos=frozenset()).generate(prompt, max_new_tokens=30)
    assert found.tokens == plainly("qwen3", prompt, min(30, CONTEXT - length))


@pytest.mark.parametrize("idle", [1, 2, 3, 16, 17, 40])
def test_a_draft_that_was_idle_catches_up_before_its_program_runs(idle):
    target, drafts = pair("llama")
    session, other = drafts["near"].open([3, 1, 4]), drafts["near"].open([3, 1, 4])
    text = plainly("llama", (3, 1, 4), 60)
    session.draft(2, None)
    for token in text[:idle]:
        session.advance([token])
    other.advance(text[:idle])
    assert session.lag == idle - 1
    fresh = drafts["near"].open([3, 1, 4, *text[:idle]])
    assert session.draft(5, None).tokens == fresh.draft(5, None).tokens == other.draft(5, None).tokens


def test_attention_looks_no_further_than_it_must_and_finds_the_same(monkeypatch):
    from paceline.backends.graph.cuda import engine

    monkeypatch.setattr(engine, "SHORTEST", 16)
    model = model_of("llama")
    target, drafts = made(model, {"near": noisy_copy(model, noise=0.02)})
    found = SpeculativeDecoder(target, drafts, ScriptedPolicy([5, 0, 16, 2]), eos=frozenset()).generate(
        [3, 1, 4], max_new_tokens=70
    )
    assert found.tokens == plainly("llama", (3, 1, 4), 70)
    buffers = target.pool.take()
    assert buffers.spans == (16, 96)
    assert {key[2] for key in buffers._programs if key[0] == "verify"} == {16, 96}


@pytest.mark.parametrize("gamma", range(1, 18))
def test_a_plan_between_tiers_takes_the_next_one_up_and_no_token_more(gamma):
    target, drafts = pair("llama")
    session, verifying = drafts["near"].open([3, 1, 4]), target.open([3, 1, 4])
    proposal = session.draft(gamma, None)
    verdict = verifying.verify(proposal)
    text = plainly("llama", (3, 1, 4), 20)
    assert len(proposal) == min(gamma, 16)
    assert verdict.tokens == text[: verdict.accepted + 1]
    used = {key[1] for key in session.buffers._programs if key[0] == "draft"}
    assert min(tier for tier in (1, 2, 3, 4, 6, 8, 12, 16) if tier >= min(gamma, 16)) in used


@pytest.mark.parametrize(
    "rule",
    [
        StopRule("top1", below=0.5),
        StopRule("prob", below=0.3),
        StopRule("entropy", above=3.4),
        StopRule("margin", below=0.2),
        StopRule("margin", above=0.3),
    ],
    ids=str,
)
def test_a_rule_judged_on_the_device_stops_where_the_same_rule_on_the_host_does(rule):
    signals = frozenset({rule.signal})
    declared = DraftControl(signals, rule)
    asking = DraftControl(signals, None, lambda signals: not rule.stops(signals))
    _, drafts = pair("llama")
    lengths = set()
    for start in range(12):
        device, host = (drafts["far"].open([start, 1, 4]).draft(8, control) for control in (declared, asking))
        assert device.tokens == host.tokens
        values = [[signals.value(rule.signal) for signals in found.signals] for found in (device, host)]
        assert values[0] == pytest.approx(values[1])
        lengths.add(len(device))
    assert len(lengths) > 1


def test_two_decoders_in_two_threads_write_what_each_writes_alone():
    target, drafts = pair("llama")
    found = {}

    def write(first):
        policy = ScriptedPolicy([Plan(3, "near"), Plan(0), Plan(5, "far")])
        decoder = SpeculativeDecoder(target, drafts, policy, eos=frozenset())
        found[first] = [decoder.generate([first, 1, 4], max_new_tokens=40).tokens for _ in range(3)]

    threads = [threading.Thread(target=write, args=(first,)) for first in (3, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for first in (3, 9):
        assert found[first] == [plainly("llama", (first, 1, 4), 40)] * 3


def test_the_engine_declares_its_tiers():
    model = model_of("llama")
    target, _ = made(model, {}, any_gamma=False, tiers=(0, 1, 3))
    assert target.capabilities == Capabilities(gammas=(0, 1, 3), sampling=True)
