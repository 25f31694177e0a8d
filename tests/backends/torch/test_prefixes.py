"""Caches kept from request to request: nothing but time may tell that they are there."""

import copy
import functools
from itertools import islice

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from paceline.backends.graph import GraphTarget
from paceline.backends.prompt_lookup import PromptLookup
from paceline.backends.toy import ToyTarget
from paceline.backends.transformers import HfDraft, HfTarget
from paceline.backends.transformers.host.cache import windows_record_many_passes
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.errors import BackendError
from paceline.core.generation import Tally
from paceline.core.optional_protocols import SupportsPrefixReuse
from paceline.core.records import Plan
from paceline.core.sampling import GREEDY, Sampling
from paceline.core.testing.doubles import ChaoticPolicy, ScriptedPolicy

from ...core.test_forking import in_child
from ..generated import generated
from ..graph.cuda import programs
from ..graph.pairs import model_of
from ..graph.pairs import pair as graph_pair
from ..tiny_models import noisy_copy, tiny_model
from .test_translated import draft_of, target_of
from .trained import TEXT, trained

torch.set_num_threads(1)

SWITCH = 24
ROTATION = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * 4,
    "long_factor": [1.5, 3.0, 5.0, 9.0],
    "original_max_position_embeddings": SWITCH,
    "factor": 12.8,
}


@functools.cache
def pair(kind):
    """Return a target and its drafts."""
    if kind == "graph":
        return graph_pair("llama")
    if kind == "programs":
        return programs.pair("llama")
    if kind == "translated":
        return target_of("coarse"), {"near": draft_of("coarse", "fine")}
    changes = {}
    if kind == "switch":
        changes = {"rope_parameters": ROTATION, "max_position_embeddings": 512}
    model = tiny_model("llama" if kind == "switch" else kind, **changes)
    return HfTarget(model), {"near": HfDraft(noisy_copy(model, noise=0.03)), "lookup": PromptLookup()}


KINDS = ["llama", "mistral", "gemma3_text", "switch", "graph", "programs", "translated"]

LONGEST = 56

steps = st.fixed_dictionaries(
    {
        "after": st.integers(0, 99),
        "without": st.sampled_from([0, 0, 0, 1, 3, 7, 20, 50]),
        "added": st.lists(st.sampled_from([5, 6, 7]), min_size=1, max_size=8),
        "new": st.integers(1, 12),
        "rounds": st.sampled_from([None, None, 0, 1, 2]),
        "seed": st.integers(0, 5),
        "drawn": st.booleans(),
    }
)


def decoders(kind, seed, kept):
    target, drafts = pair(kind)

    def policy():
        return ChaoticPolicy(seed, list(drafts), max_gamma=6)

    options = {"eos": frozenset(), "interleaved": True}
    return (
        SpeculativeDecoder(target, drafts, policy, **options),
        SpeculativeDecoder(target, drafts, policy, **options, prefix_caches=kept),
    )


def written(decoder, prompt, step):
    """Return the tokens of a request that may be left before its end."""
    sampling = Sampling(temperature=0.9, seed=step["seed"]) if step["drawn"] else GREEDY
    rounds = decoder.rounds(prompt, max_new_tokens=step["new"], sampling=sampling)
    tokens = [token for done in islice(rounds, step["rounds"]) for token in done.tokens]
    rounds.close()
    return tokens


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(turns=st.lists(steps, min_size=2, max_size=7), seed=st.integers(0, 99), kept=st.integers(1, 3))
def test_turns_edits_repetitions_and_abandoned_answers_are_as_without(kind, turns, seed, kept):
    plain, keeping = decoders(kind, seed, kept)
    texts = [[5, 6, 7]]
    for step in turns:
        earlier = texts[step["after"] % len(texts)]
        prompt = [*earlier[: max(0, len(earlier) - step["without"])], *step["added"]][:LONGEST]
        tokens = written(keeping, prompt, step)

        assert tokens == written(plain, prompt, step)
        texts.append([*prompt, *tokens])


@pytest.mark.parametrize("kind", ["llama", "gemma3_text", "graph", "programs"])
def test_logits_after_a_kept_beginning_are_those_of_a_fresh_prefill(kind):
    target, drafts = pair(kind)
    prompt = [(3 * at) % 11 for at in range(40)]
    for model in (target, drafts["near"]):
        keeping = model.keep_prefixes(1)
        first = keeping.open(prompt)
        first.logits()
        first.close()
        for text in ([*prompt, 9, 8], prompt, [*prompt[:30], 1, 1]):
            again, fresh = keeping.open(text), model.open(text)

            assert torch.allclose(again.logits(), fresh.logits(), rtol=0.0, atol=1e-10)
            again.close()
            fresh.close()


def feeds(engine, monkeypatch):
    """Return the numbers of tokens that are fed from now on."""
    counts, feed = [], engine.feed

    def counted(cache, tokens, rows=1):
        counts.append(tokens.shape[1] if isinstance(tokens, torch.Tensor) else len(tokens))
        return feed(cache, tokens, rows)

    monkeypatch.setattr(engine, "feed", counted)
    return counts


@pytest.mark.parametrize("kind", ["llama", "graph"])
def test_what_is_read_of_a_prompt_is_what_is_new(kind, monkeypatch):
    target, drafts = pair(kind)
    decoder = SpeculativeDecoder(
        target, drafts, ScriptedPolicy([Plan(3, "near")]), eos=frozenset(), prefix_caches=1
    )
    fed = feeds(target.engine, monkeypatch)
    drafted = feeds(drafts["near"].engine, monkeypatch)
    prompt = [(3 * at) % 11 for at in range(60)]
    first = decoder.generate(prompt, max_new_tokens=8)
    turn = [*prompt, *first.tokens, 1, 2, 3]
    fed.clear()
    drafted.clear()
    rounds = decoder.rounds(turn, max_new_tokens=1)
    next(rounds)
    rounds.close()

    # The last token of the answer was never fed, and the last of the prompt opens the first round.
    assert sum(fed) == 1 + 3
    assert sum(drafted) == 0
    fed.clear()
    list(decoder.rounds([*turn[:64], 4, 5], max_new_tokens=1))
    assert sum(fed) == 2
    fed.clear()
    list(decoder.rounds([*turn[:64], 4, 5], max_new_tokens=1))
    assert sum(fed) == 1, "of a prompt that is there already, the last token is read"


def test_a_decoder_that_keeps_none_reads_all_even_beside_one_that_keeps_some(monkeypatch):
    target, drafts = pair("graph")
    policy = ScriptedPolicy([0])
    keeping = SpeculativeDecoder(target, drafts, policy, prefix_caches=2)
    plain = SpeculativeDecoder(target, drafts, policy)
    prompt = list(range(30))
    keeping.generate(prompt, max_new_tokens=2)
    fed = feeds(target.engine, monkeypatch)
    plain.generate(prompt, max_new_tokens=1)
    assert sum(fed) == 30
    fed.clear()
    keeping.generate(prompt, max_new_tokens=1)
    assert sum(fed) == 1


@pytest.mark.parametrize("kind", ["llama", "graph"])
def test_requests_under_way_never_share_a_cache(kind):
    target = pair(kind)[0].keep_prefixes(3)
    prompt = [1, 2, 3, 4, 5]
    target.open(prompt).close()
    left, right = target.open(prompt), target.open(prompt)
    assert left.sequence.cache is not right.sequence.cache
    left.advance(left.verify(None).tokens)
    assert right.sequence.cache.get_seq_length() == 4
    for session in (left, left, right, right):
        session.close()
    assert len(target.prefixes) == 2
    third, fourth = target.open(prompt), target.open(prompt)
    assert third.sequence.cache is not fourth.sequence.cache


def test_a_cache_of_the_graph_engine_is_kept_or_free_and_never_both():
    target = GraphTarget(model_of("llama"), max_context=64)
    keeping = target.keep_prefixes(2)
    sizes = set()
    for beginning in range(9):
        session = keeping.open([beginning, 1, 2, 3])
        sizes.add(len(keeping.prefixes) + len(target.engine._pool._free) + 1)
        session.close()
    assert max(sizes) == 2, "a full store makes room before a new cache is taken"
    assert len(keeping.prefixes) == 2


def test_a_failed_pass_leaves_nothing_behind(monkeypatch):
    target = pair("llama")[0].keep_prefixes(1)
    session = target.open([1, 2, 3, 4])
    layer = session.sequence.cache.layers[1]
    monkeypatch.setattr(type(layer), "update", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        session.verify(None)
    session.close()
    monkeypatch.undo()
    # No layer had taken the tokens in, so that what was read before stands.
    assert len(target.prefixes) <= 1
    fresh, again = pair("llama")[0].open([1, 2, 3, 4]), target.open([1, 2, 3, 4])
    assert torch.equal(fresh.logits(), again.logits())


def test_a_pass_that_reached_some_layers_only_leaves_nothing_behind(monkeypatch):
    target = pair("llama")[0].keep_prefixes(1)
    session = target.open([1, 2, 3, 4])
    last = session.sequence.cache.layers[-1]
    update = type(last).update

    def failing(layer, *arguments, **options):
        if layer is last:
            raise ZeroDivisionError
        return update(layer, *arguments, **options)

    monkeypatch.setattr(type(last), "update", failing)
    with pytest.raises(ZeroDivisionError):
        session.verify(None)
    session.close()
    assert len(target.prefixes) == 0


@pytest.mark.parametrize("kind", ["graph", "llama"])
def test_a_request_tells_how_much_of_its_prompt_was_in_a_kept_cache(kind):
    target = pair(kind)[0]
    decoder = SpeculativeDecoder(target, {}, ScriptedPolicy([0]), eos=frozenset(), prefix_caches=1)
    tallies = [Tally(), Tally(), Tally()]
    first = [
        token
        for done in decoder.rounds([1, 2, 3], tally=tallies[0], max_new_tokens=5)
        for token in done.tokens
    ]
    for prompt, tally in (([1, 2, 3, *first, 4], tallies[1]), ([9, 9], tallies[2])):
        list(decoder.rounds(prompt, tally=tally, max_new_tokens=2))
    assert [tally.cached_tokens for tally in tallies] == [0, 7, 0]


def test_a_child_process_goes_on_from_copies_of_its_own():
    target = pair("graph")[0]
    decoder = SpeculativeDecoder(target, {}, ScriptedPolicy([0]), eos=frozenset(), prefix_caches=1)
    first = decoder.generate([1, 2, 3], max_new_tokens=5).tokens
    prompt = [1, 2, 3, *first, 4]
    plain = SpeculativeDecoder(target, {}, ScriptedPolicy([0]), eos=frozenset())
    expected = plain.generate(prompt, max_new_tokens=5).tokens

    def work():
        assert decoder.generate([*prompt, 9], max_new_tokens=5).tokens
        assert decoder.generate(prompt, max_new_tokens=5).tokens == expected

    in_child(work)
    assert decoder.generate(prompt, max_new_tokens=5).tokens == expected


def test_text_past_the_switch_of_a_model_is_neither_kept_nor_gone_on_from():
    target = pair("switch")[0].keep_prefixes(2)
    for length in (SWITCH - 2, SWITCH + 2):
        target.open([1] * length).close()
    assert len(target.prefixes) == 1
    session = target.open([1] * (SWITCH + 1))
    assert len(target.prefixes) == 1
    session.close()


def test_a_window_is_gone_on_from_where_all_of_it_is_wanted_and_read_anew_elsewhere(monkeypatch):
    target = pair("mistral")[0].keep_prefixes(1)
    text = [(5 * at) % 13 for at in range(40)]
    target.open(text).close()
    fed = feeds(target.engine, monkeypatch)
    target.open([*text, 1, 2]).close()
    assert sum(fed) == 2
    fed.clear()
    target.open([*text[:20], 1, 2]).close()
    # Releases whose windows do not record many passes keep everything, and can go back.
    assert sum(fed) == (21 if windows_record_many_passes() else 1)


def test_a_number_of_caches_below_one_is_refused():
    target = pair("llama")[0]
    assert isinstance(target, SupportsPrefixReuse)
    with pytest.raises(BackendError, match="at least 1, found 0"):
        target.keep_prefixes(0)
    with pytest.raises(BackendError, match="prefix_caches must be at least 0, found -1"):
        SpeculativeDecoder(target, {}, ScriptedPolicy([0]), prefix_caches=-1)


def test_a_target_that_keeps_none_is_said_once():
    with capture_logs() as logs:
        SpeculativeDecoder(ToyTarget(), {}, ScriptedPolicy([0]), prefix_caches=1)
    assert [entry["event"] for entry in logs] == ["prefixes_not_kept"]


def test_the_text_of_a_reencoded_draft_is_read_once():
    target, drafts = pair("translated")
    draft = drafts["near"].keep_prefixes(1)
    prompt = target.codec.encode(TEXT)[:60]
    session = draft.open(prompt)
    session.draft(2, None)
    session.close()
    held = len(draft.prefixes._kept[0][0])
    again = draft.open(prompt)
    again.draft(2, None)
    assert again._sequence.tracker.cached >= held - 1


@pytest.mark.parametrize("kind", [HfTarget, GraphTarget])
def test_ten_turns_are_token_for_token_what_generate_gives_to_the_same_messages(kind):
    tokenizer = copy.deepcopy(trained("coarse"))
    turn = "{{ message['role'] }}: {{ message['content'] }}\n"
    tokenizer.chat_template = f"{{% for message in messages %}}{turn}{{% endfor %}}assistant: "
    model = tiny_model("llama", vocab_size=len(tokenizer), max_position_embeddings=4096)
    drafts = {"near": HfDraft(noisy_copy(model, noise=0.03)), "lookup": PromptLookup()}
    decoder = SpeculativeDecoder(
        kind(model, tokenizer), drafts, lambda: ChaoticPolicy(3, list(drafts)), eos=frozenset()
    )
    conversation = decoder.conversation("answer in rhymes", max_new_tokens=12)
    for turn in range(10):
        text = TEXT[17 * turn : 17 * turn + 30]
        prompt = decoder.encode_chat([*conversation.messages, {"role": "user", "content": text}])
        if turn % 2:
            tokens = [token for done in conversation.rounds(text) for token in done.tokens]
        else:
            tokens = conversation.say(text).tokens
        assert tuple(tokens) == generated(model, prompt, 12)
    assert len(prompt) > 400
    assert len(decoder.target.prefixes) == 1
