"""A draft with a tokenizer of its own."""

import functools
import itertools
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from paceline.backends.torch import reencoding
from paceline.backends.torch.reencoding import HELD, continuation
from paceline.backends.torch.tokenizers import TokenizerCodec
from paceline.backends.toy import ToyConfig
from paceline.backends.transformers import HfDraft, HfTarget, TranslatedDraft
from paceline.backends.transformers.reference import references
from paceline.core.config.load import load, load_config
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.errors import BackendError, CapabilityError
from paceline.core.optional_protocols import SampledDraft
from paceline.core.proposals import TokenProposal, verify_greedy
from paceline.core.records import SIGNALS, Capabilities
from paceline.core.sampling import Sampling
from paceline.core.testing.backends import check_backend
from paceline.core.testing.doubles import ChaoticPolicy, ScriptedPolicy
from paceline.policies.baselines.confidence import ConfidenceConfig

from ..tiny_models import tiny_model
from .trained import KINDS, TEXT, trained

torch.set_num_threads(1)

PAIRS = [(left, right) for left, right in itertools.product(KINDS, KINDS) if left != right]
pairs = st.sampled_from(PAIRS)
LONGEST = 40


@functools.cache
def model(kind, family="llama", seed=0):
    return tiny_model(family, seed=seed, vocab_size=len(trained(kind)))


@functools.cache
def target_of(kind):
    return HfTarget(model(kind), trained(kind))


@functools.cache
def draft_of(kind, other, family="llama"):
    return TranslatedDraft(HfDraft(model(other, family, 3), trained(other)), target_of(kind))


@functools.lru_cache(maxsize=256)
def plainly(kind, prompt, count):
    ids = torch.tensor([prompt])
    found = model(kind).generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=count,
        eos_token_id=None,
        pad_token_id=0,
    )
    return tuple(found[0, len(prompt) :].tolist())


prompts = st.lists(st.sampled_from(TEXT.split(" ")), min_size=1, max_size=50).map(" ".join)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(pair=pairs, text=prompts, seed=st.integers(0, 99), count=st.integers(1, LONGEST), data=st.data())
def test_no_policy_changes_a_token(pair, text, seed, count, data):
    kind, other = pair
    prompt = tuple(TokenizerCodec(trained(kind)).encode(text))
    wanted = plainly(kind, prompt, LONGEST)[:count]
    eos = data.draw(st.frozensets(st.sampled_from(wanted), max_size=1))
    end = next((at + 1 for at, token in enumerate(wanted) if token in eos), count)
    decoder = SpeculativeDecoder(target_of(kind), {"draft": draft_of(*pair)}, ChaoticPolicy(seed), eos=eos)

    assert wanted[:end] == decoder.generate(prompt, max_new_tokens=count).tokens


@pytest.mark.parametrize("pair", PAIRS)
def test_sessions_are_functions_of_their_context(pair):
    kind, other = pair
    tokens = TokenizerCodec(trained(kind)).encode(TEXT)
    starts = [tokens[:size] for size in (1, 20, 95, 141)]
    check_backend(
        lambda: target_of(kind),
        lambda _: draft_of(kind, other),
        prompts=starts,
        max_examples=4,
        steps=8,
        shrink=False,
    )


@pytest.mark.parametrize("family", ["mistral", "gemma3_text", "gpt2"])
def test_caches_that_keep_a_window_stay_right(family):
    tokens = TokenizerCodec(trained("coarse")).encode(TEXT)
    check_backend(
        lambda: target_of("coarse"),
        lambda _: draft_of("coarse", "fine", family),
        prompts=[tokens[:60]],
        max_examples=8,
        shrink=False,
    )


@dataclass
class Tape:
    """The cache of a `Speller`: the tokens themselves."""

    tokens: list = field(default_factory=list)

    def crop(self, count):
        del self.tokens[len(self.tokens) + count :]


class Speller:
    """An engine whose model goes on with a text that it knows by heart, in its own tokens, then ends it."""

    switch = None

    name = "speller"
    max_context = None

    def __init__(self, codec, text):
        self.codec, self.text = codec, text
        self.vocabulary = len(codec.tokenizer)
        self.fed = []

    def new_cache(self):
        return Tape()

    def free(self, cache):
        pass

    def feed(self, cache, tokens, rows=1):
        new = tokens.flatten().tolist() if isinstance(tokens, torch.Tensor) else list(tokens)
        self.fed.append(len(new))
        cache.tokens += new
        ends = range(len(cache.tokens) - rows + 1, len(cache.tokens) + 1)
        logits = torch.zeros(rows, self.vocabulary)
        for row, end in enumerate(ends):
            logits[row, self.next(cache.tokens[:end])] = 1.0
        return logits

    def next(self, tokens):
        whole = self.codec.encode(self.text)
        if tokens == whole[: len(tokens)]:
            return whole[len(tokens)] if len(tokens) < len(whole) else self.codec.tokenizer.eos_token_id
        said = self.codec.decode(tokens)
        rest = self.text[len(said) :] if self.text.startswith(said) else ""
        return (
            continuation(self.codec, said[-40:], rest, "")[0] if rest else self.codec.tokenizer.eos_token_id
        )


class Author:
    """A target that writes a text it knows by heart, then ends it."""

    eos = frozenset()
    capabilities = Capabilities()
    max_context = None

    def __init__(self, codec, text):
        self.codec, self.vocabulary = codec, len(codec.tokenizer)
        self.tokens = [*codec.encode(text), *[codec.tokenizer.eos_token_id] * 40]

    def open(self, prompt):
        return AuthorSession(self.tokens, len(prompt))


@dataclass
class AuthorSession:
    tokens: list
    at: int

    def verify(self, proposal):
        guess = () if proposal is None else proposal.tokens
        return verify_greedy(guess, self.tokens[self.at : self.at + len(guess) + 1])

    def advance(self, tokens):
        self.at += len(tokens)

    def close(self):
        pass


def spelled(kind, other, text=TEXT):
    """Return a target that writes a text, and a draft that knows it in other tokens."""
    target, own = Author(TokenizerCodec(trained(kind)), text), TokenizerCodec(trained(other))
    engine = Speller(own, text)
    return (
        target,
        TranslatedDraft(SimpleNamespace(engine=engine, codec=own, identity="speller"), target),
        engine,
    )


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair[0] != "words"])
def test_a_draft_that_knows_the_text_is_believed_whatever_its_tokens(pair):
    text = "the cat sat on the mat and the other cat sat on the other mat. " * 8
    target, draft, _ = spelled(*pair, text)
    prompt = target.tokens[:10]
    count = len(target.codec.encode(text)) - 20
    done = SpeculativeDecoder(target, {"draft": draft}, ScriptedPolicy([4])).generate(
        prompt, max_new_tokens=count
    )
    assert list(done.tokens) == target.tokens[10 : 10 + count]
    # Decoded words have a space before each mark, which is not how the text goes on.
    assert done.totals.acceptance > (0.5 if pair[1] == "words" else 0.99)
    assert done.totals.tokens_per_round > 1.5


@pytest.mark.parametrize(
    "pair", [("fine", "coarse"), ("coarse", "fine"), ("spaced", "fine"), ("fine", "spaced")]
)
def test_letters_of_every_kind_are_drafted_right(pair):
    target, draft, _ = spelled(*pair)
    done = SpeculativeDecoder(target, {"draft": draft}, ScriptedPolicy([6])).generate(
        target.tokens[:5], max_new_tokens=200
    )
    assert list(done.tokens) == target.tokens[5:205]
    assert done.totals.acceptance > 0.95
    assert done.totals.drafted > 100


def test_each_round_reads_little_more_than_what_is_new():
    target, draft, engine = spelled("coarse", "fine")
    decoder = SpeculativeDecoder(target, {"draft": draft}, ScriptedPolicy([3]))
    rounds = list(decoder.rounds(target.tokens[:60], max_new_tokens=100))
    new = len(TokenizerCodec(trained("fine")).encode(target.codec.decode(target.tokens[:160])))
    drafted = engine.fed.count(1)
    assert sum(engine.fed) <= new + drafted + (HELD + 1) * len(rounds)


def test_special_tokens_are_neither_proposed_nor_spelled():
    target, draft, _ = spelled("coarse", "fine", "the cat<end> sat")
    session = draft.open(target.codec.encode("the")[:1])
    assert target.codec.decode(session.draft(9, None).tokens) == " cat"
    target, draft, _ = spelled("coarse", "fine", "the cat sat")
    assert target.codec.decode(draft.open(target.codec.encode("the")).draft(9, None).tokens) == " cat sat"
    assert len(draft.open(target.codec.encode("the cat sat")).draft(9, None)) == 0


def test_tokens_that_end_a_text_are_never_proposed():
    target, _, engine = spelled("coarse", "fine", "the cat sat on the mat")
    target.eos = frozenset(target.codec.encode(" on"))
    draft = TranslatedDraft(SimpleNamespace(engine=engine, codec=engine.codec, identity=""), target)
    assert target.codec.decode(draft.open(target.codec.encode("the")).draft(40, None).tokens) == " cat sat"


@pytest.mark.parametrize("held", [0, 1, HELD])
def test_what_later_text_spells_anew_is_read_anew(held, monkeypatch):
    monkeypatch.setattr(reencoding, "HELD", held)
    target, draft, _ = spelled("fine", "coarse")
    session, spelling = draft.open(target.tokens[:3]), target.codec.encode(TEXT)
    for at in range(3, 60):
        assert session.draft(3, None).tokens == draft.open(spelling[:at]).draft(3, None).tokens
        session.advance(spelling[at : at + 1])


def test_nothing_is_proposed_inside_a_character():
    target, draft, _ = spelled("fine", "coarse", "the 🙂 cat")
    session = draft.open(target.codec.encode("the 🙂")[:-1])
    assert len(session.draft(4, None)) == 0
    assert session.lag == len(target.codec.encode("the 🙂")) - 2
    session.advance(target.codec.encode("the 🙂")[-1:])
    assert target.codec.decode(session.draft(4, None).tokens) == " cat"
    assert session.lag == 0


def test_a_text_that_fills_the_context_of_the_draft_is_left_alone():
    target, draft, engine = spelled("coarse", "fine")
    engine.max_context = 30
    session = draft.open(target.tokens[:4])
    assert len(session.draft(2, None)) > 0
    session.advance(target.tokens[4:40])
    assert len(session.draft(2, None)) == 0


def test_no_signal_is_offered_and_the_identity_says_what_happens():
    draft = draft_of("coarse", "fine")
    assert draft.signals == frozenset() < SIGNALS
    assert draft.identity.endswith(" re-encoded")


def test_a_closed_session_says_so():
    session = draft_of("coarse", "fine").open([5])
    session.close()
    session.close()
    with pytest.raises(BackendError, match="was closed"):
        session.draft(2, None)


@pytest.mark.parametrize("side", ["draft", "target"])
def test_without_a_tokenizer_on_one_side_the_reason_is_told(side):
    target = HfTarget(model("fine"), None if side == "target" else trained("fine"))
    draft = HfDraft(model("coarse"), None if side == "draft" else trained("coarse"))
    with pytest.raises(BackendError, match=f"the {side}.*has no tokenizer"):
        TranslatedDraft(draft, target)


def test_a_target_of_another_backend_will_do():
    target = ToyConfig(seed=3).build_target()
    draft = TranslatedDraft(HfDraft(model("fine"), trained("fine")), target)
    check_backend(lambda: target, lambda _: draft, max_examples=6, shrink=False)


def test_the_library_assists_with_both_tokenizers_as_well():
    target, draft = target_of("coarse"), draft_of("coarse", "fine")
    ways = references(load_config({}), target, draft)
    prompt = target.codec.encode(TEXT[:60])
    assert list(ways) == ["hf generate", "hf lookup", "hf assisted"]
    assert ways["hf assisted"](prompt, 12) == ways["hf generate"](prompt, 12)
    assert list(references(load_config({"generation": {"temperature": 1.0}}), target, draft)) == [
        "hf generate",
        "hf lookup",
    ]


def test_tokens_may_be_drawn_as_well():
    sampling = Sampling(temperature=0.7, seed=4)
    target, draft, _ = spelled("coarse", "fine")
    # Nothing of the draft depends on chance, and no distribution comes with its tokens: each counts as certain.
    assert not isinstance(draft, SampledDraft)
    assert isinstance(draft.open(target.tokens[:30]).draft(3, None), TokenProposal)
    real = target_of("coarse")
    decoder = SpeculativeDecoder(real, {"draft": draft}, ScriptedPolicy([3]), sampling=sampling)
    assert len(decoder.generate(target.tokens[:30], max_new_tokens=30).tokens) == 30


@pytest.mark.parametrize("policy", ["auto", "online", "linear-select"])
def test_a_run_with_two_tokenizers_needs_no_setting(tmp_path, policy):
    for name in ("coarse", "fine"):
        model(name).save_pretrained(tmp_path / name)
        trained(name).save_pretrained(tmp_path / name)
    blocks = {
        name: {"backend": "hf", "model": str(tmp_path / name), "device": "cpu"} for name in ("coarse", "fine")
    }
    run = {"target": blocks["coarse"], "drafts": {"other": blocks["fine"]}, "policy": policy}
    with capture_logs() as said, load(run) as decoder:
        found = decoder.generate(TEXT[:60], max_new_tokens=20)
    assert found.tokens == plainly("coarse", tuple(decoder.encode(TEXT[:60])), 20)
    assert [line["event"] for line in said] == ["draft_reencoded"]


def test_a_policy_that_stops_by_a_signal_is_refused_with_the_reason():
    drafts = {"other": draft_of("coarse", "fine")}
    with pytest.raises(CapabilityError, match=r"'other' does not deliver"):
        SpeculativeDecoder(target_of("coarse"), drafts, ConfidenceConfig().build(0))
