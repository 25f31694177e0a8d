"""Recordings of drawn tokens: what one says of acceptance is what happens, counted out over all dice."""

from dataclasses import replace
from itertools import product
from random import Random

import numpy as np
import pytest

from paceline.core.clock import CostTableClock
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.errors import BackendError
from paceline.core.records import SIGNALS
from paceline.core.sampling import Sampling
from paceline.core.testing.doubles import FixedCosts, ScriptedPolicy
from paceline.core.testing.enumeration import outcomes
from paceline.lab.recording.draft_walk import DraftQuery, walk_draft
from paceline.lab.recording.format_texts import runs
from paceline.lab.recording.sampled_walk import acceptance_probabilities, draw, token_probs

LENGTH = 4


def decoded(tiny, make, gammas):
    """The distribution of text and accepted counts, as the real loop gives them."""

    def run(rng):
        target = replace(tiny.target, rng=lambda seed: rng)
        decoder = SpeculativeDecoder(
            target,
            {"draft": make(target)},
            ScriptedPolicy(gammas),
            clock=CostTableClock(FixedCosts(1.0, 10.0)),
            sampling=tiny.sampling,
        )
        rounds = list(decoder.rounds(tiny.prompt, max_new_tokens=LENGTH))
        tokens = tuple(token for done in rounds for token in done.tokens)
        # Tokens accepted after the one that ends a text are none of the text's.
        return tokens, tuple(min(done.accepted, len(tokens) - done.position) for done in rounds)

    return outcomes(run)


def replayed(tokens, bits, gammas):
    """The accepted counts of a text by the rules of a recording."""
    agreed = runs(np.array(bits, bool), np.full(len(tokens), 9, np.int16))
    position, counts = 0, []
    while position < len(tokens):
        gamma = min(gammas[len(counts) % len(gammas)], LENGTH - position - 1)
        counts.append(min(gamma, int(agreed[position])))
        position += counts[-1] + 1
    return tuple(counts)


def chance_of(tiny, draft, tokens):
    own, wanted = (model.open_sampled(tiny.prompt, tiny.sampling) for model in (draft, tiny.target))
    return acceptance_probabilities(token_probs(own, own, tokens), token_probs(wanted, wanted, tokens))


@pytest.mark.parametrize("gammas", [(1,), (2, 1), (3,)])
def test_accepted_counts_by_the_recorded_chances_are_those_of_the_loop(tiny_pair, apart, gammas):
    expected = decoded(tiny_pair, tiny_pair.drawing, gammas)
    draft, found = tiny_pair.drawing(tiny_pair.target), {}
    for tokens, probability in tiny_pair.alone(LENGTH).items():
        chance = chance_of(tiny_pair, draft, tokens)
        for bits in product((False, True), repeat=len(tokens)):
            weight = np.prod([one if bit else 1.0 - one for bit, one in zip(bits, chance, strict=True)])
            key = tokens, replayed(tokens, bits, gammas)
            found[key] = found.get(key, 0.0) + probability * float(weight)
    assert apart(found, expected) < 1e-6  # chances are kept as float32


@pytest.mark.parametrize("gammas", [(1,), (2, 1), (3,)])
def test_a_draft_that_does_not_draw_is_certain_once_the_text_is_known(tiny_pair, apart, gammas):
    expected = decoded(tiny_pair, tiny_pair.greedy, gammas)
    draft, found = tiny_pair.greedy(tiny_pair.target), {}
    for tokens, probability in tiny_pair.alone(LENGTH).items():
        starts = walk_draft(DraftQuery("d", draft.open(tiny_pair.prompt), frozenset(), 3), tokens, 4)
        found[tokens, replayed(tokens, starts.agreed > 0, gammas)] = probability
    assert apart(found, expected) < 1e-12


def test_what_is_drawn_falls_as_the_chances_say(tiny_pair):
    draft, tokens = tiny_pair.drawing(tiny_pair.target), (2, 1, 1, 2)
    chance, accepted = chance_of(tiny_pair, draft, tokens), np.zeros(4)
    for seed in range(400):
        asked = DraftQuery("d", draft.open_sampled(tiny_pair.prompt, tiny_pair.sampling), frozenset(), 3)
        starts = draw(asked, tokens, 4, own=chance, acceptance_probs=chance, random=Random(seed))
        accepted += starts.agreed > 0
    assert 0.0 < chance.min() < 1.0
    assert np.abs(accepted / 400 - chance).max() < 0.1


def test_signals_of_accepted_tokens_are_those_of_the_text_and_of_refused_ones_of_another_token(
    toy_recorder, prompts
):
    recorder = toy_recorder(temperature=1.0, seed=7)
    text = recorder.text(prompts[0], 24)
    starts = text.drafts["good"]
    draft, sampling = recorder.drafts["good"], recorder.sampling
    assert starts.signals.keys() == SIGNALS
    assert 0 < (starts.agreed == 0).sum() < len(text.tokens)
    for place, token in enumerate(text.tokens):
        session = draft.open_sampled([*prompts[0].tokens, *text.tokens[:place]], sampling)
        about = DraftQuery("d", session, SIGNALS, 27).draft(1)[1][0]
        for name in ("top1", "entropy", "margin"):
            assert starts.signals[name][place, 0] == pytest.approx(about.value(name), rel=1e-6)
        if starts.agreed[place]:
            assert starts.signals["token"][place, 0] == token
            assert starts.signals["prob"][place, 0] == pytest.approx(session.score([token])[0], rel=1e-6)
        else:
            assert starts.signals["token"][place, 0] != token


def test_the_same_seed_gives_the_same_recording_and_another_seed_another(toy_recorder, prompts):
    one, same, other = (
        toy_recorder(temperature=1.0, seed=seed).text(prompts[1], 24).drafts["good"].agreed.tolist()
        for seed in (1, 1, 2)
    )
    assert one == same
    assert one != other


def test_a_draft_that_draws_but_cannot_say_how_is_refused_with_the_way_out(toy_recorder, prompts):
    class Secret:
        signals = frozenset()

        def __init__(self, draft):
            self.draft = draft

        def open_sampled(self, prompt, sampling):
            session = self.draft.open_sampled(prompt, sampling)
            session.memoryless = False
            return session

    recorder = toy_recorder(temperature=1.0)
    secret = replace(recorder, drafts={"secret": Secret(recorder.drafts["good"])})
    with pytest.raises(BackendError, match=r"'secret' draws its tokens.*temperature 0\.0"):
        secret.info(prompts[0].tokens)


def test_a_penalty_at_temperature_0_is_greedy_and_certain(toy_recorder, prompts):
    recorder = toy_recorder(repetition_penalty=1.5)
    assert recorder.sampling == Sampling(temperature=0.0, repetition_penalty=1.5)
    text = recorder.text(prompts[0], 24)
    assert all(starts.acceptance_probs is None for starts in text.drafts.values())
    drafted = recorder.drafts["good"].open_sampled(prompts[0].tokens, recorder.sampling).draft(1, None).tokens
    assert (text.drafts["good"].agreed[0] > 0) == (drafted[0] == text.tokens[0])
