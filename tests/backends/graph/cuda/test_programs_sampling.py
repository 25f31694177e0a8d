"""Programs that draw write texts as often as transformers' own `generate` does."""

import functools

import pytest
import torch

from paceline.backends.graph.cuda.sampling import SamplingParams, sampling_kind, sampling_numbers
from paceline.backends.prompt_lookup import PromptLookup
from paceline.backends.torch import sampling
from paceline.backends.transformers import HfDraft, HfTarget
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.errors import BackendError
from paceline.core.proposals import DraftControl
from paceline.core.records import SIGNALS, Plan, StopRule
from paceline.core.rejection_sampling import probs_of, process_logits
from paceline.core.sampling import Sampling
from paceline.core.testing.doubles import ScriptedPolicy

from ...exact import DRAWN, apart, distance_of_draws, every_outcome, texts
from ...tiny_models import noisy_copy, tiny_model
from .programs import made

torch.set_num_threads(1)

SIZE = 5
PROMPT = (3, 1, 4)
SHARP = Sampling(temperature=3.0, top_k=2)
SETTINGS = [
    Sampling(temperature=2.0),
    Sampling(temperature=3.0, top_k=3),
    Sampling(temperature=4.0, top_p=0.7),
    Sampling(temperature=4.0, min_p=0.2),
    Sampling(temperature=4.0, top_k=4, top_p=0.9, min_p=0.05),
]


class GreedyOnly:
    """The draft without its ability to draw."""

    def __init__(self, draft):
        self.signals = draft.signals
        self.open = draft.open


@functools.cache
def models():
    model = tiny_model("llama", vocab_size=SIZE)
    return model, noisy_copy(model, noise=0.15)


def parts():
    """Return a target, and drafts on the same device, on another, and of other kinds, with buffers of their own."""
    model, near = models()
    target, drafts = made(model, {"drawing": near}, tiers=(0, 1, 2, 3))
    _, apart = made(model, {"apart": near})
    return target, {
        **drafts,
        "greedy": GreedyOnly(drafts["drawing"]),
        "apart": apart["apart"],
        "hf": HfDraft(near),
        "lookup": PromptLookup(max_ngram=1),
    }


@functools.cache
def alone(length, sampling):
    """Return the distribution of the target's first tokens, by plain Python over the model's own logits."""
    target = HfTarget(models()[0])

    def next_probs(text):
        context = [*PROMPT, *text]
        return probs_of(process_logits(target.open(context).logits().tolist(), sampling, context), sampling)

    return texts(length, next_probs)


def decoded(plans, length, sampling, monkeypatch, draft="drawing"):
    """Return the exact distribution of what the loop delivers."""
    target, drafts = parts()

    def run():
        policy = ScriptedPolicy(plans)
        one = SpeculativeDecoder(target, {draft: drafts[draft]}, policy, sampling=sampling)
        return one.generate(PROMPT, max_new_tokens=length).tokens

    return every_outcome(run, monkeypatch)


@pytest.mark.parametrize("draft", ["drawing", "greedy", "apart", "hf", "lookup"])
@pytest.mark.parametrize("gammas", [(0,), (1, 1), (2, 1)], ids=str)
def test_three_tokens_are_distributed_as_the_targets_own(draft, gammas, monkeypatch):
    found = decoded([Plan(gamma) for gamma in gammas], 3, SHARP, monkeypatch, draft)
    assert apart(found, alone(3, SHARP)) < 1e-6


@pytest.mark.parametrize("sampling", SETTINGS, ids=repr)
def test_every_setting_does_what_it_does_elsewhere_at_each_position(sampling, monkeypatch):
    found = decoded([1], 2, sampling, monkeypatch)
    assert apart(found, alone(2, sampling)) < 1e-6


def test_a_rule_that_stops_on_the_device_changes_no_probability(monkeypatch):
    found = decoded([Plan(2, stop=StopRule("prob", below=0.6))], 3, SHARP, monkeypatch)
    assert apart(found, alone(3, SHARP)) < 1e-6


def test_accepting_everything_would_be_found_out(monkeypatch):
    real = sampling.true_prefix
    monkeypatch.setattr(sampling, "true_prefix", lambda agreed: real(torch.ones_like(agreed)))
    found = decoded([Plan(1)], 2, SHARP, monkeypatch)
    assert apart(found, alone(2, SHARP)) > 0.01


@pytest.mark.parametrize("sampling", SETTINGS, ids=repr)
def test_scores_are_those_of_plain_python(sampling):
    logits = torch.randn(3, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 3
    numbers = torch.tensor(sampling_numbers(sampling, 12), dtype=torch.float64)
    found = torch.softmax(SamplingParams(sampling_kind(sampling), numbers).scores(logits), dim=-1)
    for row, shares in zip(logits.tolist(), found.tolist(), strict=True):
        assert shares == pytest.approx(probs_of(process_logits(row, sampling, ()), sampling), abs=1e-9)


def test_what_the_programs_cannot_do_is_refused_before_anything_is_read():
    target, drafts = parts()
    for refused in (Sampling(typical_p=0.5), Sampling(temperature=0.0, repetition_penalty=1.2)):
        for one in (target, drafts["drawing"]):
            with pytest.raises(BackendError, match=r"repetition_penalty and typical_p.*backend: hf"):
                one.open_sampled(PROMPT, refused)


@pytest.mark.parametrize("draft", ["drawing", "greedy"])
def test_real_draws_are_distributed_as_the_targets(draft):
    target, drafts = parts()
    decoder = SpeculativeDecoder(target, {"draft": drafts[draft]}, ScriptedPolicy([1]))
    distance, limit = distance_of_draws(decoder, PROMPT, alone(2, DRAWN), 300)
    assert distance < limit


def test_the_same_seed_and_gammas_give_the_same_text_and_another_seed_another():
    model = tiny_model("llama")
    target, drafts = made(model, {"near": noisy_copy(model, noise=0.02)})

    def text(seed):
        sampling = Sampling(temperature=3.0, seed=seed)
        one = SpeculativeDecoder(
            target, drafts, ScriptedPolicy([3, 0, 5]), sampling=sampling, eos=frozenset()
        )
        return one.generate(PROMPT, max_new_tokens=40).tokens

    assert text(1) == text(1) != text(2)


def test_signals_and_scores_are_of_the_distribution_that_was_drawn_from():
    _, drafts = parts()
    session = drafts["drawing"].open_sampled(PROMPT, SHARP)
    proposal = session.draft(3, DraftControl(SIGNALS))
    for place, (signals, token) in enumerate(zip(proposal.signals, proposal.tokens, strict=True)):
        shares = proposal.draft_probs[place]
        assert (signals.position, signals.token) == (place, token)
        assert signals.prob == pytest.approx(float(shares[token]))
        assert signals.top1 == pytest.approx(float(shares.max()))
        assert signals.entropy == pytest.approx(float(torch.special.entr(shares).sum()))
        assert signals.margin == pytest.approx(float(shares.topk(2).values.diff().abs()))
    again = drafts["drawing"].open_sampled(PROMPT, SHARP)
    assert again.score(proposal.tokens) == pytest.approx([signals.prob for signals in proposal.signals])
