"""Sessions of llama.cpp keep the contracts of a round, and leave nothing behind."""

from __future__ import annotations

from itertools import islice
from random import Random

import numpy as np
import pytest

from paceline import (
    AllowedTokens,
    BackendError,
    LogitBias,
    Plan,
    Sampling,
    SpeculativeDecoder,
    TokenProposal,
    load_config,
)
from paceline.testing import ChaoticPolicy, ScriptedPolicy, check_backend, outcomes
from paceline_llamacpp import LlamaCppConfig

PROMPT = [3, 14, 15, 92, 65]


def plain(target, prompt=PROMPT, count=60):
    return SpeculativeDecoder(target, {}, ScriptedPolicy([0])).generate(prompt, max_new_tokens=count).tokens


def empty(engine):
    """Tell whether every sequence was given back, without a token in it."""
    unused = sorted(engine._unused)
    every = list(range(engine.options.parallel * len(engine._contexts)))
    return unused == every and all(engine.length(sequence) == 0 for sequence in every)


def drafts_for(target, tiny, smaller):
    blocks = {
        "same": LlamaCppConfig(model=str(tiny), cache_type="f32"),
        "other": LlamaCppConfig(model=str(smaller)),
        "lookup": load_config({"drafts": {"lookup": {"backend": "prompt-lookup"}}}).drafts["lookup"],
    }
    return {name: block.build_draft(target) for name, block in blocks.items()}


def test_both_roles_keep_the_contract_whatever_a_round_does(build, smaller):
    check_backend(
        lambda: build(parallel=4, block_multiple=2),
        lambda target: LlamaCppConfig(model=str(smaller), parallel=4, block_multiple=2).build_draft(target),
        logits=lambda session: session.logits(),
        tolerance=2e-2,
        max_examples=12,
        shrink=False,
    )


def test_ten_thousand_adversarial_rounds_write_the_plain_text_and_leak_nothing(build, tiny, smaller):
    target = build(block_multiple=2)
    drafts = drafts_for(target, tiny, smaller)
    expected, rounds, drafted, dice = {}, 0, 0, Random(0)
    for seed in range(720):
        prompt = PROMPT[: 1 + seed % len(PROMPT)]
        if len(prompt) not in expected:
            expected[len(prompt)] = plain(target, prompt)
        decoder = SpeculativeDecoder(target, drafts, ChaoticPolicy(seed, max_gamma=9))
        leave = dice.choice([None, 3])
        taken = list(islice(decoder.rounds(prompt, max_new_tokens=60), leave))
        written = tuple(token for done in taken for token in done.tokens)
        assert written == expected[len(prompt)][: len(written)]
        rounds += len(taken)
        drafted += sum(done.drafted for done in taken)
    assert rounds > 10_000
    assert drafted > 2 * rounds
    assert empty(target.engine)
    assert empty(drafts["same"].engine)
    assert empty(drafts["other"].engine)


def test_a_draft_of_the_same_weights_is_accepted(build, tiny, smaller):
    target = build(block_multiple=2)
    drafts = {"same": drafts_for(target, tiny, smaller)["same"]}
    done = SpeculativeDecoder(target, drafts, ScriptedPolicy([4])).generate(PROMPT, max_new_tokens=40)
    assert done.tokens == plain(target, count=40)
    assert done.totals.accepted > 0.8 * done.totals.drafted


BIASED = (LogitBias({3: 2.0}), AllowedTokens(lambda tokens: {(tokens[-1] + step) % 96 for step in (1, 7, 9)}))


@pytest.mark.parametrize("processors", [(), BIASED], ids=["free", "processed"])
@pytest.mark.parametrize("role", ["target", "draft"])
def test_what_is_drawn_is_distributed_as_the_targets_own(build, smaller, role, processors):
    target = build()
    sampling = Sampling(temperature=1.3, top_k=3, seed=0, processors=processors)
    draft = LlamaCppConfig(model=str(smaller)).build_draft(target)

    def two_tokens(rng):
        session = target.open_sampled(PROMPT, sampling)
        ahead = draft.open_sampled(PROMPT, sampling) if role == "draft" else None
        session._sampler.rng = rng
        if ahead is not None:
            ahead._sampler.rng = rng
        proposal = ahead.draft(1, None) if ahead is not None else TokenProposal((0,))
        written = list(session.verify(proposal).tokens)
        session.advance(written)
        if len(written) < 2:
            written += session.verify(None).tokens
        session.close()
        if ahead is not None:
            ahead.close()
        return tuple(written[:2])

    expected = {}
    session = target.open_sampled(PROMPT, sampling)
    for first, share in enumerate(session.score([token])[0] for token in range(target.vocabulary)):
        if share:
            for second in range(target.vocabulary):
                both = share * session.score([first, second])[1]
                if both:
                    expected[first, second] = both
    session.close()
    assert outcomes(two_tokens) == pytest.approx(expected, abs=1e-4)


def test_a_seed_repeats_a_text_and_another_writes_another(build):
    target = build()
    decoder = SpeculativeDecoder(target, {}, ScriptedPolicy([0]))
    texts = [
        decoder.generate(PROMPT, max_new_tokens=30, sampling=Sampling(temperature=2.0, seed=seed)).tokens
        for seed in (1, 1, 2)
    ]
    assert texts[0] == texts[1] != texts[2]


def test_requests_are_independent_and_as_many_as_there_is_room_for(build, monkeypatch):
    target = build(parallel=1)
    first, second = target.open(PROMPT), target.open(PROMPT[:2])
    refused = BackendError("no context can be made")
    monkeypatch.setattr(target.engine, "_new_context", lambda: (_ for _ in ()).throw(refused))
    with pytest.raises(BackendError, match="no context can be made"):
        target.open(PROMPT)
    texts = [[], []]
    for _ in range(20):
        for text, session in zip(texts, (first, second), strict=True):
            tokens = session.verify(TokenProposal((7, 7))).tokens
            session.advance(tokens)
            text.extend(tokens)
    first.close()
    second.close()
    assert tuple(texts[0]) == plain(target, count=len(texts[0]))
    assert tuple(texts[1]) == plain(target, PROMPT[:2], len(texts[1]))


def test_a_conversation_goes_on_from_what_was_read_and_writes_the_same(build, smaller, monkeypatch):
    target = build(parallel=3, block_multiple=2)
    draft = LlamaCppConfig(model=str(smaller)).build_draft(target)
    read = []
    feed = type(target.engine).feed
    monkeypatch.setattr(
        type(target.engine), "feed", lambda self, *about: read.append(len(about[2])) or feed(self, *about)
    )
    policy = ScriptedPolicy([3, 0])
    keeping = SpeculativeDecoder(target, {"draft": draft}, policy, prefix_caches=2)
    fresh = SpeculativeDecoder(target, {"draft": draft}, ScriptedPolicy([3, 0]), prefix_caches=0)
    prompt = [(5 * place) % 96 for place in range(60)]
    for _ in range(4):
        read.clear()
        written = keeping.generate(prompt, max_new_tokens=12).tokens
        assert max(read) < 60 or len(prompt) == 60
        assert written == fresh.generate(prompt, max_new_tokens=12).tokens
        prompt += [*written, 7, 8]


def test_kept_sequences_make_room_where_no_other_is_left(build, monkeypatch):
    target = build(parallel=2).keep_prefixes(2)
    refused = BackendError("no context can be made")
    monkeypatch.setattr(target.engine, "_new_context", lambda: (_ for _ in ()).throw(refused))
    for prompt in (PROMPT, [9, 9, 9]):
        target.open(prompt).close()
    sessions = [target.open([token]) for token in (50, 60)]
    assert [session.verify(None).accepted for session in sessions] == [0, 0]
    for session in sessions:
        session.close()


def test_a_text_ends_where_the_context_does(build):
    target = build(context=64)
    done = SpeculativeDecoder(target, {"all": Repeating()}, ScriptedPolicy([Plan(9, "all")])).generate(PROMPT)
    assert (done.ended, len(done.tokens)) == ("length", 64 - len(PROMPT))
    assert done.tokens == plain(target, count=64 - len(PROMPT))


class Repeating:
    """A draft that proposes as many tokens as it is asked for, and always the same."""

    signals = frozenset()

    def open(self, prompt):
        return self

    lag = 0

    def draft(self, gamma, control):
        return TokenProposal((1,) * gamma)

    def advance(self, tokens):
        pass

    def close(self):
        pass


def test_a_long_proposal_is_read_as_far_as_one_pass_goes(build):
    session = build().open(PROMPT)
    verdict = session.verify(TokenProposal((5,) * 2000))
    assert verdict.accepted == 0
    assert len(verdict.tokens) == 1


def test_what_is_no_token_ends_a_proposal_and_never_comes_out(build):
    target = build()
    session = target.open(PROMPT)
    (following,) = session.verify(None).tokens
    assert session.verify(TokenProposal((following, 4000))).accepted == 1


def test_blocks_of_a_multiple_give_the_logits_of_any_length(build):
    target = build(block_multiple=4)
    text = plain(target, count=12)
    rows = []
    for cut in (1, 2, 3, 5):
        session = target.open(PROMPT)
        for begin in range(0, len(text), cut):
            session.sequence.attempt(text[begin : begin + cut - 1])
            session.advance(text[begin : begin + cut])
        rows.append(session.logits())
        session.close()
    assert all(np.array_equal(row, rows[0]) for row in rows)


def test_a_prompt_of_several_chunks_is_read_like_a_short_one(build):
    target = build()
    prompt = [(7 * place) % 96 for place in range(505)]
    assert target.max_context == 512
    assert len(plain(target, prompt, 5)) == 5
    assert target.perplexity(prompt) == pytest.approx(np.exp(np.mean(surprises(target, prompt))), rel=1e-3)
    assert target.perplexity([3]) is None


def surprises(target, prompt):
    sequence = target.engine.take()
    logits = target.engine.feed(sequence, 0, prompt, len(prompt)).astype(np.float64)
    target.engine.free(sequence)
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return [-logs[place, token] for place, token in enumerate(prompt[1:])]


def test_a_closed_session_says_so(build):
    session = build().open(PROMPT)
    session.close()
    session.close()
    with pytest.raises(BackendError, match="was closed; open a new one"):
        session.verify(None)


def test_the_identity_tells_forms_apart_and_copies_not(build, tiny, tmp_path):
    copy = tmp_path / tiny.name
    copy.write_bytes(tiny.read_bytes())
    assert build().identity == build(model=str(copy)).identity
    forms = [{}, {"threads": 2}, {"cache_type": "f16"}, {"flash_attention": True}, {"block_multiple": 2}]
    assert len({build(**form).identity for form in forms}) == len(forms)
