"""Every family of models keeps its sessions right, as target and as draft."""

import functools

import pytest
import torch

from paceline.backends.torch.sequence import CHUNK
from paceline.backends.transformers import HfDraft, HfTarget
from paceline.backends.transformers.host.cache import windows_record_many_passes
from paceline.core.errors import BackendError
from paceline.core.proposals import DraftControl, TokenProposal
from paceline.core.testing.backends import check_backend

from ..tiny_models import FAMILIES, VOCABULARY, WINDOW, noisy_copy, tiny_model

torch.set_num_threads(1)


@functools.cache
def pair(family):
    model = tiny_model(family)
    return HfTarget(model), HfDraft(noisy_copy(model))


def prompt_of(size):
    return [(11 + 7 * index * index) % VOCABULARY for index in range(size)]


def alone(target, prompt, count):
    """Return what the model's own `generate` writes."""
    ids = torch.tensor([prompt])
    found = target.engine.model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=count, pad_token_id=0
    )
    return found[0, len(prompt) :].tolist()


def decode(target, draft, prompt, gammas, count):
    """Play rounds with scripted gammas; return tokens, drafted, accepted."""
    verifier, drafter = target.open(prompt), draft.open(prompt)
    tokens, drafted, accepted, turn = [], 0, 0, 0
    while len(tokens) < count:
        gamma = gammas[turn % len(gammas)]
        turn += 1
        proposal = drafter.draft(gamma, None) if gamma else None
        verdict = verifier.verify(proposal)
        drafted += gamma
        accepted += verdict.accepted
        tokens += verdict.tokens
        verifier.advance(verdict.tokens)
        drafter.advance(verdict.tokens)
    return tokens[:count], drafted, accepted


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_passes_the_kit_in_both_roles(family):
    target, draft = pair(family)
    # These two compute the softmax of their attention in float32, whatever the weights are.
    tolerance = 1e-5 if family in {"gemma2", "bloom"} else 1e-9
    check_backend(
        lambda: target,
        lambda _: draft,
        logits=lambda session: session.logits().tolist(),
        tolerance=tolerance,
        max_examples=8,
        shrink=False,
    )


@pytest.mark.parametrize("gammas", [(4,), (1, 3, 0, 5, 2), (0, 0, 0, 9)])
@pytest.mark.parametrize("family", FAMILIES)
def test_rounds_write_what_generate_writes_though_drafts_are_refused_now_and_then(family, gammas):
    target, draft = pair(family)
    prompt = prompt_of(13)
    tokens, drafted, accepted = decode(target, draft, prompt, gammas, 40)
    assert tokens == alone(target, prompt, 40)
    assert 0 < accepted < drafted


@pytest.mark.parametrize(
    "family", [name for name, options in FAMILIES.items() if "sliding_window" in options]
)
def test_a_context_far_beyond_the_window_can_be_rolled_back(family):
    target, draft = pair(family)
    prompt = prompt_of(10 * WINDOW)
    tokens, _, _ = decode(target, draft, prompt, (6, 2), 4 * WINDOW)
    assert tokens == alone(target, prompt, 4 * WINDOW)


def test_a_windowed_cache_does_not_grow_with_the_text():
    target, _ = pair("mistral")
    session = target.open(prompt_of(5 * WINDOW))
    for _ in range(3 * WINDOW):
        session.advance(session.verify(None).tokens)
    if windows_record_many_passes():
        assert all(layer.keys.shape[-2] < WINDOW for layer in session.sequence.cache.layers)


def test_a_prompt_longer_than_a_chunk_is_read_in_pieces():
    model = tiny_model("llama", max_position_embeddings=4 * CHUNK, num_hidden_layers=1)
    target, draft = HfTarget(model), HfDraft(noisy_copy(model))
    prompt = prompt_of(2 * CHUNK + 5)
    tokens, _, _ = decode(target, draft, prompt, (3,), 8)
    assert tokens == alone(target, prompt, 8)


def test_a_draft_catches_up_after_many_idle_rounds():
    _, draft = pair("llama")
    session, text = draft.open(prompt_of(3)), prompt_of(60)
    for token in text[3:]:
        session.advance([token])
    assert session.lag == len(text) - 1
    assert session.draft(3, None).tokens == draft.open(text).draft(3, None).tokens
    assert session.lag == 0


def test_drafting_again_in_the_same_round_starts_over():
    _, draft = pair("llama")
    session = draft.open(prompt_of(4))
    first = session.draft(5, None).tokens
    assert session.draft(3, None).tokens == first[:3]
    session.advance(first[:2])
    assert session.draft(3, None).tokens == first[2:5]


def test_a_draft_whose_watcher_raises_is_as_if_it_had_not_drafted():
    _, draft = pair("llama")

    def angry(signals):
        if signals.position == 2:
            raise RuntimeError("no more")
        return True

    session, prompt = draft.open(prompt_of(4)), prompt_of(4)
    with pytest.raises(RuntimeError, match="no more"):
        session.draft(5, DraftControl(frozenset({"top1"}), keep_drafting=angry))
    session.advance([9])
    assert session.draft(4, None).tokens == draft.open([*prompt, 9]).draft(4, None).tokens


@pytest.mark.parametrize("strange", [VOCABULARY, -1, 10**9])
def test_a_proposed_number_that_is_no_token_is_refused_like_any_other(strange):
    target, _ = pair("llama")
    prompt = prompt_of(6)
    wanted = alone(target, prompt, 4)
    session = target.open(prompt)
    verdict = session.verify(TokenProposal((wanted[0], strange, wanted[2])))
    assert (verdict.accepted, list(verdict.tokens)) == (1, wanted[:2])
    session.advance(verdict.tokens)
    assert list(session.verify(TokenProposal(tuple(wanted[2:3]))).tokens) == wanted[2:4]


def test_a_closed_session_says_so():
    target, _ = pair("llama")
    session = target.open([1, 2])
    session.close()
    session.close()
    with pytest.raises(BackendError, match="was closed"):
        session.verify(None)


def test_a_draft_falls_silent_where_its_positions_end():
    model = tiny_model("gpt2", n_positions=10)
    session = HfDraft(model).open(prompt_of(8))
    assert len(session.draft(6, None)) == 3
    session.advance(prompt_of(3))
    assert len(session.draft(6, None)) == 0
    session.advance(prompt_of(3))
    assert session.lag > 0


def test_a_target_says_what_prompts_it_cannot_read():
    target = HfTarget(tiny_model("gpt2", n_positions=10), name="short")
    assert target.max_context == 10
    with pytest.raises(BackendError, match="11 tokens, but short reads at most 10"):
        target.open(prompt_of(11))
    with pytest.raises(BackendError, match="96 in the prompt is no token of short"):
        target.open([VOCABULARY])
    with pytest.raises(BackendError, match="empty prompt"):
        target.open([])


def test_a_model_without_position_limit_has_no_longest_context():
    assert pair("bloom")[0].max_context is None


def test_a_model_in_training_mode_is_put_into_evaluation_mode():
    model = tiny_model("gpt2").train()
    prompt = prompt_of(5)
    target = HfTarget(model)
    assert target.open(prompt).verify(None) == target.open(prompt).verify(None)
    assert not model.training


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("role", ["target", "draft"])
def test_a_pass_that_fails_leaves_a_session_that_is_right_or_closed(role, place, monkeypatch):
    target, draft = pair("llama")
    session = (target if role == "target" else draft).open(prompt_of(7))
    wanted = session.logits()
    layer = session.sequence.engine.model.model.layers[place]

    def fail(*args, **kwargs):
        raise RuntimeError("out of luck")

    monkeypatch.setattr(layer.self_attn if place == 0 else layer, "forward", fail)
    with pytest.raises(RuntimeError, match="out of luck"):
        session.verify(TokenProposal((1, 2))) if role == "target" else session.draft(3, None)
    monkeypatch.undo()
    if place == 0:
        assert torch.equal(session.logits(), wanted)  # no layer had taken the tokens in
    else:
        with pytest.raises(BackendError, match="was closed"):
            session.logits()
