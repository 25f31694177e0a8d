"""With processors, whatever a policy does: greedy tokens are those chosen one by one, drawn ones distributed alike."""

import zlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.backends.prompt_lookup import PromptLookup
from paceline.backends.toy import ToyDraft, ToyTarget
from paceline.backends.transformers import HfDraft, HfTarget
from paceline.core.batch import BatchDecoder
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.errors import BackendError, CapabilityError
from paceline.core.processors import AllowedTokens, LogitBias
from paceline.core.records import Plan
from paceline.core.sampling import Sampling
from paceline.core.testing.doubles import ScriptedPolicy

from .adversary import Adversary, prompts, scripts
from .exact import apart, every_outcome, texts
from .graph import pairs as graph
from .graph.cuda import programs
from .test_equality import slow
from .tiny_models import VOCABULARY, noisy_copy, tiny_model
from .transformers import pairs as hf

torch.set_num_threads(1)

LENGTH = 14


def toy_pair():
    target = ToyTarget()
    return target, {
        "near": ToyDraft(target),
        "far": ToyDraft(target, agreement=0.1),
        "lookup": PromptLookup(),
    }


ENGINES = {"toy": toy_pair, "hf": lambda: hf.pair("llama"), "graph": lambda: graph.pair("qwen3")}


class Choosy:
    """Allows other tokens after each text, all of them now and then; must not be shown a text that it forbade."""

    def __init__(self, seed, prompt, vocabulary):
        self.seed, self.begins, self.vocabulary = seed, len(prompt), vocabulary

    def __call__(self, tokens):
        for place in range(self.begins, len(tokens)):
            allowed = self.after(tokens[:place])
            assert allowed is None or tokens[place] in allowed
        return self.after(tokens)

    def after(self, tokens):
        mixed = zlib.crc32(bytes([self.seed, len(tokens) % 5, *tokens[-2:]]))
        if mixed % 3 == 0:
            return None
        return {(mixed >> shift) % self.vocabulary for shift in (3, 7, 11)}


def one_by_one(target, prompt, sampling, count):
    """Return the likeliest tokens, each after processors that see one row alone."""
    text = list(prompt)
    for _ in range(count):
        if isinstance(target, ToyTarget):
            row = torch.tensor(target.scores(text), dtype=torch.float64)
        else:
            row = target.open(text).logits().float()
        for processor in sampling.processors:
            row = processor(text, row)
        text.append(int(row.argmax()))
    return tuple(text[len(prompt) :])


@pytest.mark.parametrize("engine", ENGINES)
@settings(slow, max_examples=25)
@given(
    prompt=prompts,
    script=scripts,
    wants_signals=st.booleans(),
    seed=st.integers(0, 255),
    biases=st.dictionaries(st.integers(0, VOCABULARY), st.sampled_from([-9.0, -1.0, 2.0]), max_size=9),
)
def test_greedy_tokens_are_those_chosen_one_by_one(engine, prompt, script, wants_signals, seed, biases):
    target, drafts = ENGINES[engine]()
    prompt = tuple(token % target.vocabulary for token in prompt)
    processors = (LogitBias(biases), AllowedTokens(Choosy(seed, prompt, target.vocabulary)))
    sampling = Sampling(temperature=0.0, processors=processors)
    decoder = SpeculativeDecoder(
        target, drafts, Adversary(script, wants_signals), eos=frozenset(), sampling=sampling
    )
    written = decoder.generate(prompt, max_new_tokens=LENGTH).tokens
    assert written == one_by_one(target, prompt, sampling, LENGTH)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_trees_are_drafted_and_verified_by_the_same_processors(engine, temperature):
    target, drafts = ENGINES[engine]()
    lengths = set()
    for seed in range(8):
        prompt = (3, 1, 4)
        processors = (AllowedTokens(Choosy(seed, prompt, target.vocabulary)),)
        sampling = Sampling(temperature=temperature, processors=processors)
        policy = ScriptedPolicy([Plan(3, "near", nodes=7, width=3), Plan(2, "far", nodes=5, width=2)])
        decoder = SpeculativeDecoder(target, drafts, policy, eos=frozenset(), sampling=sampling)
        written = decoder.generate(prompt, max_new_tokens=LENGTH)
        lengths.add(written.totals.accepted)
        if not temperature:
            assert written.tokens == one_by_one(target, prompt, sampling, LENGTH)
    assert len(lengths) > 1


@pytest.mark.parametrize("engine", ["hf", "graph"])
def test_a_row_in_another_number_format_counts_by_its_numbers(engine):
    target, drafts = ENGINES[engine]()
    written = set()
    for plan in (0, 3, Plan(3, "near", nodes=7, width=3)):
        sampling = Sampling(temperature=0.0, processors=(lambda tokens, logits: (9 * logits).long(),))
        decoder = SpeculativeDecoder(
            target, drafts, ScriptedPolicy([plan]), eos=frozenset(), sampling=sampling
        )
        written.add(decoder.generate((3, 1, 4), max_new_tokens=LENGTH).tokens)
    assert len(written) == 1


@pytest.mark.parametrize("engine", ENGINES)
def test_requests_that_share_passes_have_processors_of_their_own(engine):
    target, drafts = ENGINES[engine]()
    batch = BatchDecoder(SpeculativeDecoder(target, drafts, ScriptedPolicy([3, 1]), eos=frozenset()))
    expected = {}
    for seed in range(4):
        prompt = (3, 1, 4)[: 1 + seed % 3]
        processors = (AllowedTokens(Choosy(seed, prompt, target.vocabulary)),) if seed else ()
        sampling = Sampling(temperature=0.0, processors=processors)
        request = batch.submit(prompt, max_new_tokens=LENGTH, sampling=sampling)
        expected[request] = one_by_one(target, prompt, sampling, LENGTH)
    for _ in batch.rounds():
        pass
    assert {request: tuple(request.tokens) for request in expected} == expected


def test_the_programs_of_a_gpu_refuse_them_as_target_and_leave_them_to_the_target_as_draft():
    target, drafts = programs.pair("llama")
    prompt = (3, 1, 4)
    sampling = Sampling(temperature=0.0, processors=(AllowedTokens(Choosy(1, prompt, target.vocabulary)),))
    with pytest.raises(CapabilityError, match="applies no logits processors"):
        SpeculativeDecoder(target, {}, ScriptedPolicy([0]), sampling=sampling)
    with pytest.raises(BackendError, match="on a GPU this backend applies no logits processors"):
        target.open_sampled(prompt, sampling)
    other, _ = graph.pair("llama")
    drafts = {"near": drafts["near"]}
    decoder = SpeculativeDecoder(other, drafts, ScriptedPolicy([3]), eos=frozenset(), sampling=sampling)
    assert decoder.generate(prompt, max_new_tokens=LENGTH).tokens == one_by_one(
        other, prompt, sampling, LENGTH
    )


BIASED = Sampling(
    temperature=2.0,
    top_k=3,
    processors=(LogitBias({1: 1.5}), AllowedTokens(lambda tokens: {0, 1, 2} - {tokens[-1]})),
)


@pytest.mark.parametrize("gammas", [(0,), (1, 2), (2, 1)], ids=str)
@pytest.mark.parametrize("draft", ["drawing", "greedy", "lookup"])
def test_drawn_toy_texts_have_exactly_the_probabilities_of_the_target_alone(gammas, draft, tiny_pair, apart):
    drafts = {
        "drawing": tiny_pair.drawing,
        "greedy": tiny_pair.greedy,
        "lookup": lambda _: PromptLookup(max_ngram=1),
    }
    made = tiny_pair.scripted(gammas, 3, drafts={"draft": drafts[draft]}, sampling=BIASED)
    assert apart(made, tiny_pair.alone(3, BIASED)) < 1e-12


@pytest.mark.parametrize("gammas", [(1, 1), (2, 1)], ids=str)
@pytest.mark.parametrize("draft", ["drawing", "lookup"])
def test_drawn_texts_of_a_model_have_exactly_the_probabilities_of_its_processed_logits(
    gammas, draft, monkeypatch
):
    model = tiny_model("llama", vocab_size=4)
    target = HfTarget(model)
    # A draft of two tokens has none of those that are allowed now and then.
    drafts = {
        "drawing": HfDraft(noisy_copy(model, noise=0.15), vocabulary=2),
        "lookup": PromptLookup(max_ngram=1),
    }

    def next_probs(text):
        text = [3, 1, *text]
        row = target.open(text).logits()
        for processor in BIASED.processors:
            row = processor(text, row)
        scores = row / BIASED.temperature
        scores[scores < scores.topk(BIASED.top_k).values[-1]] = -torch.inf
        return torch.softmax(scores, dim=-1).tolist()

    def run():
        policy = ScriptedPolicy([Plan(gamma, draft) for gamma in gammas])
        decoder = SpeculativeDecoder(target, drafts, policy, sampling=BIASED)
        return decoder.generate([3, 1], max_new_tokens=3).tokens

    assert apart(every_outcome(run, monkeypatch), texts(3, next_probs)) < 1e-6
