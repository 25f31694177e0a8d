"""Under sampling a model of transformers writes texts as often as its own `generate` does, whatever is drafted."""

import functools

import pytest
import torch

from paceline.backends.prompt_lookup import PromptLookup
from paceline.backends.torch.sampling import DeviceProposal, DeviceRng, Sampler, rejection_sample
from paceline.backends.transformers import HfDraft, HfTarget
from paceline.backends.transformers.reference import reference_modes, references
from paceline.core.config.load import load_config
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.proposals import DraftControl, SampledProposal, TokenProposal
from paceline.core.records import SIGNALS, Plan, StopRule
from paceline.core.rejection_sampling import probs_of, process_logits
from paceline.core.sampling import GREEDY, Sampling
from paceline.core.testing.doubles import ScriptedPolicy

from ..exact import DRAWN, apart, distance_of_draws, every_outcome, texts
from ..tiny_models import noisy_copy, tiny_model

torch.set_num_threads(1)

SIZE = 5
PROMPT = [3, 1, 4]
WARM = Sampling(temperature=3.0, top_k=3)
SETTINGS = [
    Sampling(temperature=2.0),
    Sampling(temperature=3.0, top_k=3),
    Sampling(temperature=4.0, top_p=0.7),
    Sampling(temperature=4.0, min_p=0.2),
    Sampling(temperature=4.0, typical_p=0.6),
    Sampling(temperature=3.0, repetition_penalty=1.6),
    Sampling(temperature=4.0, top_k=4, top_p=0.9, min_p=0.05, typical_p=0.95, repetition_penalty=0.8),
]


@functools.cache
def models(size=SIZE, dtype=torch.float64):
    """Return a target and a draft that agrees with it to some degree; the draft knows fewer tokens."""
    model = tiny_model("llama", vocab_size=size, dtype=dtype)
    return HfTarget(model), HfDraft(noisy_copy(model, noise=0.15), vocabulary=size - 1)


class GreedyOnly:
    """The draft without its ability to draw."""

    signals = SIGNALS

    def open(self, prompt):
        return models()[1].open(prompt)


DRAFTS = {"drawing": models()[1], "greedy": GreedyOnly(), "lookup": PromptLookup(max_ngram=1)}


def own_scores(prefix, sampling):
    """Return the scores that transformers' own `generate` draws the next token from."""
    options = {"do_sample": False}
    if not sampling.greedy:
        options = {
            "do_sample": True,
            "temperature": sampling.temperature,
            "top_k": sampling.top_k or 0,
            "top_p": 1.0 if sampling.top_p is None else sampling.top_p,
            "min_p": sampling.min_p,
            "typical_p": 1.0 if sampling.typical_p is None else sampling.typical_p,
        }
    ids = torch.tensor([prefix])
    found = models()[0].engine.model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=1,
        pad_token_id=0,
        repetition_penalty=sampling.repetition_penalty,
        output_scores=True,
        return_dict_in_generate=True,
        **options,
    )
    return found.scores[0][0]


@functools.cache
def alone(length, sampling):
    """Return the distribution of the target's first tokens, by transformers' own scores, draft and loop left out."""
    return texts(
        length,
        lambda text: torch.softmax(own_scores([*PROMPT, *text], sampling).double(), dim=-1).tolist(),
    )


def decoded(plans, length, sampling, monkeypatch, drafts=None):
    """Return the exact distribution of what the loop delivers."""

    def run():
        made = SpeculativeDecoder(models()[0], drafts or DRAFTS, ScriptedPolicy(plans), sampling=sampling)
        return made.generate(PROMPT, max_new_tokens=length).tokens

    return every_outcome(run, monkeypatch)


@pytest.mark.parametrize("draft", DRAFTS)
@pytest.mark.parametrize("gammas", [(0,), (1, 1), (2, 1)], ids=str)
def test_three_tokens_are_distributed_as_those_of_generate(draft, gammas, monkeypatch):
    sampling = Sampling(temperature=3.0, top_k=2)
    found = decoded([Plan(gamma, draft) for gamma in gammas], 3, sampling, monkeypatch)
    assert apart(found, alone(3, sampling)) < 1e-6


@pytest.mark.parametrize("sampling", SETTINGS, ids=repr)
def test_every_setting_does_what_generate_does_at_each_position(sampling, monkeypatch):
    found = decoded([1], 2, sampling, monkeypatch)
    assert apart(found, alone(2, sampling)) < 1e-6


def test_a_rule_that_stops_drafting_changes_no_probability(monkeypatch):
    sampling = Sampling(temperature=3.0, top_k=2)
    found = decoded([Plan(2, stop=StopRule("prob", below=0.6))], 3, sampling, monkeypatch)
    assert apart(found, alone(3, sampling)) < 1e-6


def test_what_a_draft_in_plain_python_says_it_drew_from_is_understood(monkeypatch):
    rows = [(0.1, 0.6, 0.3), (0.4, 0.6)]  # a short one has 0 for the rest

    class Plain:
        signals = SIGNALS
        lag = 0

        def open(self, prompt):
            raise AssertionError("not under sampling")

        def open_sampled(self, prompt, sampling):
            self.sampler = Sampler(sampling, prompt, torch.device("cpu"))
            return self

        def draft(self, gamma, control):
            tokens = [int(self.sampler.draw(torch.tensor([row]))) for row in rows[:gamma]]
            return SampledProposal(tuple(tokens), tuple(rows[:gamma]))

        def advance(self, tokens):
            pass

        def close(self):
            pass

    found = decoded([2], 3, WARM, monkeypatch, {"plain": Plain()})
    assert apart(found, alone(3, WARM)) < 1e-6


@pytest.mark.parametrize("sampling", SETTINGS, ids=repr)
def test_scores_processed_in_plain_python_are_those_of_transformers(sampling):
    logits = models()[0].open(PROMPT).logits().tolist()
    found = probs_of(process_logits(logits, sampling, PROMPT), sampling)
    target_probs = torch.softmax(own_scores(PROMPT, sampling), dim=-1).tolist()
    assert found == pytest.approx(target_probs, abs=1e-6)


def distance(draft):
    decoder = SpeculativeDecoder(models()[0], {"draft": DRAFTS[draft]}, ScriptedPolicy([1]))
    return distance_of_draws(decoder, PROMPT, alone(2, DRAWN), 250)


@pytest.mark.parametrize("draft", ["drawing", "greedy"])
def test_real_draws_are_distributed_as_the_targets(draft):
    found, limit = distance(draft)
    assert found < limit


@pytest.mark.parametrize("draft", ["drawing", "greedy"])
def test_real_draws_tell_when_everything_is_accepted(draft, monkeypatch):
    monkeypatch.setattr(
        DeviceRng,
        "accept",
        lambda self, target_probs, draft_probs: torch.ones_like(target_probs, dtype=torch.bool),
    )
    found, limit = distance(draft)
    assert found > 2 * limit


def test_the_same_seed_and_gammas_give_the_same_text_and_a_cold_one_is_greedy():
    target, draft = models(96)

    def text(sampling, gammas=(3, 0, 5)):
        made = SpeculativeDecoder(target, {"draft": draft}, ScriptedPolicy(gammas), sampling=sampling)
        return made.generate(PROMPT, max_new_tokens=40).tokens

    warm = Sampling(temperature=3.0, repetition_penalty=1.2, seed=5)
    assert text(warm) == text(warm)
    assert text(warm) != text(Sampling(temperature=3.0, repetition_penalty=1.2, seed=6))
    assert text(Sampling(temperature=0.001)) == text(Sampling(temperature=0.0))


def test_greedy_decoding_with_a_penalty_is_that_of_generate():
    target, draft = models(96)
    sampling = Sampling(temperature=0.0, repetition_penalty=1.5)
    made = SpeculativeDecoder(target, {"draft": draft}, ScriptedPolicy([4, 2]), sampling=sampling)
    found = made.generate(PROMPT, max_new_tokens=40)
    penalised, plain = (
        reference_modes(lambda: target.engine.model, None, frozenset(), how, device=target.engine.device)[
            "hf generate"
        ](PROMPT, 40)
        for how in (sampling, GREEDY)
    )
    assert list(found.tokens) == penalised
    assert list(found.tokens) != plain
    assert found.totals.accepted > 0


def test_without_a_draft_the_librarys_own_ways_look_up():
    target, _ = models(96)
    ways = references(load_config({}), target, None)
    assert ways.keys() == {"hf generate", "hf lookup", "hf adaptive"}
    assert len({tuple(way([5, 6, 7, 5, 6], 20)) for way in ways.values()}) == 1


def test_the_librarys_own_ways_draw_with_the_seed_and_leave_the_process_as_it_was():
    target, draft = models(96)
    ways, other = (
        references(load_config({"generation": {"temperature": 3.0, "seed": seed}}), target, draft)
        for seed in (4, 5)
    )
    assert ways.keys() == {"hf generate", "hf lookup", "hf assisted", "hf adaptive"}
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    for name, way in ways.items():
        # Which tokens our own loop draws also depends on the gammas it chose, and those on the clock.
        assert name == "hf adaptive" or way(PROMPT, 20) == way(PROMPT, 20)
        assert way(PROMPT, 20) != other[name](PROMPT, 20)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_proposal_carries_what_its_tokens_were_drawn_from():
    target, draft = models()
    session = draft.open_sampled(PROMPT, WARM)
    for _ in range(2):
        proposal = session.draft(3, None)
        assert isinstance(proposal, DeviceProposal)
        assert proposal.draft_probs.shape == (3, SIZE - 1)
        assert proposal.draft_probs.sum(dim=1).tolist() == pytest.approx([1.0] * 3)
        assert ((proposal.draft_probs > 0).sum(dim=1) == 3).all()
        session.advance([1])


def test_signals_and_scores_are_of_the_distribution_that_was_drawn_from():
    _, draft = models()
    proposal = draft.open_sampled(PROMPT, WARM).draft(3, DraftControl(SIGNALS))
    for place, (signals, shares) in enumerate(zip(proposal.signals, proposal.draft_probs, strict=True)):
        assert signals.top1 == pytest.approx(float(shares.max()))
        assert signals.prob == pytest.approx(float(shares[proposal.tokens[place]]))
        assert signals.token == proposal.tokens[place]
        assert signals.entropy == pytest.approx(float(torch.special.entr(shares).sum()))
    scores = draft.open_sampled(PROMPT, WARM).score(proposal.tokens)
    assert scores == pytest.approx([signals.prob for signals in proposal.signals])
    # A token that the draft does not know cannot have been its own.
    assert draft.open_sampled(PROMPT, WARM).score([SIZE - 1]) == [0.0]


def test_a_score_of_the_target_is_its_share_of_each_token_after_those_before_it():
    target, _ = models()
    session, scores = target.open_sampled(PROMPT, WARM), []
    tokens = list(target.open_sampled(PROMPT, WARM).verify(TokenProposal((3, 1))).tokens)
    for token in tokens:
        scores += session.score([token])
        session.advance([token])
    assert all(score > 0.0 for score in scores)
    assert target.open_sampled(PROMPT, WARM).score(tokens) == pytest.approx(scores, rel=1e-5)


def test_nothing_leaves_the_device_between_tokens_and_one_copy_is_made_of_a_verdict(monkeypatch):
    target, draft = models()
    drafting, verifying = draft.open_sampled(PROMPT, WARM), target.open_sampled(PROMPT, WARM)
    copies = []
    plain, item = torch.Tensor.tolist, torch.Tensor.item
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: copies.append(self.shape) or plain(self))
    monkeypatch.setattr(torch.Tensor, "item", lambda self: copies.append(self.shape) or item(self))
    proposal = drafting.draft(3, None)
    assert len(copies) == 1
    verifying.verify(proposal)
    assert len(copies) == 2


def test_a_token_that_is_none_of_the_targets_ends_the_proposal():
    session = models()[0].open_sampled(PROMPT, WARM)
    verdict = session.verify(TokenProposal((SIZE, 0)))
    assert verdict.accepted == 0
    assert 0 <= verdict.tokens[0] < SIZE


def test_where_the_two_distributions_are_the_same_nothing_is_refused_and_nothing_divided_by_zero():
    sampler = Sampler(Sampling(seed=1), PROMPT, torch.device("cpu"))
    target_probs = torch.tensor([[0.1, 0.2, 0.7]] * 3)
    for _ in range(50):
        assert rejection_sample([2, 1], target_probs[:2], target_probs, sampler).accepted == 2


def test_half_precision_models_are_drawn_from_in_float32():
    target, draft = models(dtype=torch.bfloat16)
    assert draft.open_sampled(PROMPT, WARM).draft(2, None).draft_probs.dtype == torch.float32
    made = SpeculativeDecoder(target, {"draft": draft}, ScriptedPolicy([2]), sampling=WARM)
    assert len(made.generate(PROMPT, max_new_tokens=6).tokens) == 6
