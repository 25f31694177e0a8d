"""Under sampling the toy pair writes texts exactly as often as its target alone; every way the dice fall is counted."""

import math
from dataclasses import replace
from itertools import product

import pytest

from paceline.backends.prompt_lookup import PromptLookup
from paceline.backends.toy import ToyDraft, ToyTarget
from paceline.backends.toy_sessions import SampledToyDraft, ToyDraftSession
from paceline.core import rejection_sampling
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.proposals import SampledProposal, TokenProposal
from paceline.core.records import Plan, StopRule
from paceline.core.rejection_sampling import SeededRng, probs_of, process_logits
from paceline.core.sampling import Sampling
from paceline.core.testing.doubles import ScriptedPolicy

EXACT = 1e-12
STOPS = [
    StopRule("top1", below=0.7),
    StopRule("prob", below=0.5),
    StopRule("entropy", above=0.8),
    StopRule("margin", below=0.3),
]
SETTINGS = [
    Sampling(),
    Sampling(temperature=0.5),
    Sampling(top_k=2),
    Sampling(top_p=0.75),
    Sampling(min_p=0.3),
    Sampling(typical_p=0.6),
    Sampling(repetition_penalty=1.7),
    Sampling(temperature=0.0, repetition_penalty=1.7),
    Sampling(temperature=1.5, top_k=2, top_p=0.9, min_p=0.05, typical_p=0.9, repetition_penalty=0.8),
]


@pytest.mark.parametrize("gammas", list(product(range(3), range(2))), ids=str)
def test_three_tokens_are_distributed_as_the_targets_for_any_gammas(gammas, tiny_pair, apart):
    for draft in (tiny_pair.drawing, tiny_pair.greedy):
        found = tiny_pair.scripted(gammas, 3, drafts={"draft": draft})
        assert apart(found, tiny_pair.alone(3)) < EXACT


@pytest.mark.parametrize("first", range(4))
def test_four_tokens_are_distributed_as_the_targets_for_any_gammas(first, tiny_pair, apart):
    sampling = Sampling(temperature=1.3, top_k=2)
    target_probs = tiny_pair.alone(4, sampling)
    for gammas in product([first], range(3), range(2)):
        assert apart(tiny_pair.scripted(gammas, 4, sampling=sampling), target_probs) < EXACT


@pytest.mark.parametrize("sampling", SETTINGS, ids=repr)
def test_every_setting_is_applied_to_target_and_draft_alike(sampling, tiny_pair, apart):
    target_probs = tiny_pair.alone(3, sampling)
    assert apart(tiny_pair.scripted([2, 1], 3, sampling=sampling), target_probs) < EXACT


@pytest.mark.parametrize("stop", STOPS, ids=lambda stop: stop.signal)
def test_a_rule_that_stops_drafting_changes_no_probability(stop, tiny_pair, apart):
    found = tiny_pair.scripted([Plan(2, stop=stop)], 3)
    assert apart(found, tiny_pair.alone(3)) < EXACT


def test_stopping_by_the_drawn_token_itself_changes_no_probability(tiny_pair, apart):
    class Picky(ScriptedPolicy):
        needs = frozenset({"token"})

        def keep_drafting(self, signals):
            return signals.token != 1

    found = tiny_pair.decoded(lambda: Picky([2]), 3)
    assert apart(found, tiny_pair.alone(3)) < EXACT


@pytest.mark.parametrize("names", list(product(["drawing", "greedy", "lookup"], repeat=2)), ids="-".join)
def test_changing_drafts_between_rounds_changes_no_probability(names, tiny_pair, apart):
    drafts = {
        "drawing": tiny_pair.drawing,
        "greedy": tiny_pair.greedy,
        "lookup": lambda _: PromptLookup(max_ngram=1),
    }
    found = tiny_pair.scripted([Plan(1, name) for name in names], 3, drafts=drafts)
    assert apart(found, tiny_pair.alone(3)) < EXACT


class Changed:
    """A draft whose sessions are of another class."""

    def __init__(self, target, session):
        self.target = target
        self.model = ToyDraft(target, agreement=0.6)
        self.signals = self.model.signals
        self._session = session

    def open(self, prompt):
        return self.model.open(prompt)

    def open_sampled(self, prompt, sampling):
        return self._session(self.model, list(prompt), sampling, self.target.rng(sampling.seed))


class Secretive(SampledToyDraft):
    """Draws its tokens, and does not tell what from."""

    def _propose(self, tokens, signals):
        super()._propose(tokens, signals)
        return TokenProposal(tokens, signals)


class Pretender(SampledToyDraft):
    """Takes the likeliest token, and pretends to have drawn it."""

    def _choose(self, context, position):
        token, about = ToyDraftSession._choose(self, context, position)
        self._drawn_from.append(
            probs_of(process_logits(self._model.scores(context), self._sampling, context), self._sampling)
        )
        return token, about


class Dropper(SampledToyDraft):
    """Keeps back the token at which it was told to stop."""

    def draft(self, gamma, control):
        made = super().draft(gamma, control)
        assert isinstance(made, SampledProposal)
        if len(made) == gamma:
            return made
        return SampledProposal(made.tokens[:-1], made.draft_probs[:-1], made.signals[:-1])


def test_a_draft_that_draws_in_secret_is_lossless_because_its_tokens_count_as_certain(tiny_pair, apart):
    found = tiny_pair.scripted([2, 1], 3, drafts={"draft": lambda target: Changed(target, Secretive)})
    assert apart(found, tiny_pair.alone(3)) < EXACT


def test_a_greedy_token_under_the_rule_for_drawn_ones_is_found_out(tiny_pair, apart):
    found = tiny_pair.scripted([2, 1], 3, drafts={"draft": lambda target: Changed(target, Pretender)})
    assert apart(found, tiny_pair.alone(3)) > 0.01


def test_dropping_the_token_that_stopped_the_draft_is_found_out(tiny_pair, apart):
    plan = Plan(2, stop=StopRule("prob", below=0.5))
    found = tiny_pair.scripted([plan], 3, drafts={"draft": lambda target: Changed(target, Dropper)})
    assert apart(found, tiny_pair.alone(3)) > 0.01


def _not_normalised(target_probs, draft_probs, token):
    weights = right(target_probs, draft_probs, token)
    # What an inverse-distribution draw does with weights that do not add up to 1: the last token gets the rest.
    return [*weights[:-1], weights[-1] + 1.0 - sum(weights)]


def _from_the_target(target_probs, draft_probs, token):
    return list(target_probs)


right = rejection_sampling.residual


@pytest.mark.parametrize("wrong", [_not_normalised, _from_the_target])
def test_a_wrong_residual_is_found_out(wrong, tiny_pair, apart, monkeypatch):
    monkeypatch.setattr(rejection_sampling, "residual", wrong)
    assert apart(tiny_pair.scripted([2, 1], 3), tiny_pair.alone(3)) > 0.01


def test_a_wrong_acceptance_is_found_out(tiny_pair, apart, monkeypatch):
    monkeypatch.setattr(rejection_sampling, "acceptance_prob", lambda target_probs, draft_probs, token: 1.0)
    assert apart(tiny_pair.scripted([2, 1], 3), tiny_pair.alone(3)) > 0.01


def decode(sampling, *, gammas=(3, 0, 5), length=60, drafts=None):
    target = ToyTarget()
    drafts = {"draft": ToyDraft(target)} if drafts is None else drafts
    decoder = SpeculativeDecoder(target, drafts, ScriptedPolicy(gammas), sampling=sampling)
    return decoder.generate([3, 4], max_new_tokens=length)


def test_the_same_seed_and_gammas_give_the_same_text():
    assert decode(Sampling(seed=5)).tokens == decode(Sampling(seed=5)).tokens
    assert decode(Sampling(seed=5)).tokens != decode(Sampling(seed=6)).tokens


def test_a_temperature_near_zero_is_greedy_decoding():
    cold, greedy = decode(Sampling(temperature=0.001)), decode(Sampling(temperature=0.0))
    assert cold.tokens == greedy.tokens
    assert cold.totals.accepted == greedy.totals.accepted


def test_drawn_drafts_are_accepted_more_often_than_certain_ones():
    target = ToyTarget()

    class Certain:
        signals = ToyDraft.signals

        def open(self, prompt):
            return ToyDraft(target).open(prompt)

    drawn = decode(Sampling(), length=400).totals
    certain = decode(Sampling(), length=400, drafts={"draft": Certain()}).totals
    assert drawn.acceptance > certain.acceptance > 0.2


def test_no_two_sessions_of_a_request_draw_the_same_numbers():
    seeds = []
    target = ToyTarget(rng=lambda seed: seeds.append(seed) or SeededRng(seed))
    drafts = {"one": ToyDraft(target), "two": ToyDraft(target)}
    decoder = SpeculativeDecoder(target, drafts, ScriptedPolicy([1]))
    for _ in range(2):
        decoder.generate([3], max_new_tokens=3, sampling=Sampling(seed=7))
    assert seeds[:3] == seeds[3:]
    assert len({7, *seeds}) == 4


def test_a_score_is_the_probability_that_the_draft_would_have_drawn_the_token():
    target = ToyTarget(vocabulary=4)
    draft, sampling = ToyDraft(target), Sampling(top_k=2)
    scores = draft.open_sampled([1, 2], sampling).score([3, 1])
    assert scores == [
        probs_of(process_logits(draft.scores([1, 2]), sampling, [1, 2]), sampling)[3],
        probs_of(process_logits(draft.scores([1, 2, 3]), sampling, [1, 2, 3]), sampling)[1],
    ]


def test_a_score_of_the_target_is_the_probability_that_it_would_have_drawn_the_token(tiny_pair):
    for text, probability in tiny_pair.alone(3).items():
        scores = tiny_pair.target.open_sampled(tiny_pair.prompt, tiny_pair.sampling).score(text)
        assert math.prod(scores) == pytest.approx(probability, abs=EXACT)


def test_signals_are_those_of_the_distribution_that_was_drawn_from(tiny_pair):
    class All(ScriptedPolicy):
        needs = ToyDraft.signals

    target = replace(tiny_pair.target, eos_share=0.0)
    decoder = SpeculativeDecoder(target, {"draft": ToyDraft(target)}, All([2]), sampling=Sampling(top_k=1))
    for done in decoder.rounds([1, 2], max_new_tokens=9):
        for one in done.signals:
            assert (one.top1, one.prob, one.entropy, one.margin) == (1.0, 1.0, 0.0, 1.0)
