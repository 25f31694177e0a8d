"""The optimum equals brute force over all sequences of choices, and no sequence of choices is faster."""

from __future__ import annotations

from functools import cache
from itertools import combinations
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_recordings import lab_recordings

from paceline.core.testing.doubles import ChaoticPolicy
from paceline.lab.oracle.optimum import clairvoyant, expectation
from paceline.lab.recording.latency import DraftTimes, LatencyProfile
from paceline.lab.recording.model import DraftInfo, Header, Recording, Starts, Text, TextsInMemory
from paceline.testing import play

TIGHT = 1e-9


def taken_s(optimum):
    return sum(choice.seconds for choice in optimum.choices)


class Game:
    """The rules of a round on one text, written down once more and as plainly as possible."""

    def __init__(self, text: Text, header: Header) -> None:
        self.text, self.header, self.profile = text, header, header.costs
        self.end = len(text.tokens)
        self.names = tuple(header.drafts)
        self.beginning = (0, tuple(self.lag(name, text.prompt_tokens - 1) for name in self.names))

    def lag(self, name, tokens):
        return tokens if self.header.drafts[name].caches else 0

    def factor(self, name, place):
        changes = self.text.changes
        if changes is None or name not in changes.drafts:
            return 1.0
        return float(changes.drafts[name][min(place, self.end - 1)])

    def moves(self, state):
        """Return every (draft, gamma, drafts asked for scores) of a state; a draft of None is a plain round."""
        start, _ = state
        budget = self.text.max_new_tokens - start - 1
        drafting = [(None, 0)] + [
            (name, gamma) for name in self.names for gamma in range(1, min(self.header.longest, budget) + 1)
        ]
        for name, gamma in drafting:
            able = [one for one in self.names if self.header.drafts[one].scores and one != name]
            for count in range(len(able) + 1):
                for asked in combinations(able, count):
                    yield name, gamma, asked

    def drafted(self, state, move):
        name, gamma, _ = move
        return min(gamma, int(self.text.drafts[name].offered[state[0]])) if name is not None else 0

    def round(self, state, move, accepted):
        """Return the seconds of a round and the state after it."""
        (start, lags), (name, _, asked) = state, move
        lags = dict(zip(self.names, lags, strict=True))
        drafted = self.drafted(state, move)
        emitted = min(accepted + 1, self.end - start)
        seconds = self.profile.overhead_s
        verify_s = self.profile.verify_s(drafted + 1, self.text.prompt_tokens + start)
        changes = self.text.changes
        if changes is not None:
            verify_s = verify_s * float(changes.verify[start]) + drafted * float(changes.token_s[start])
        seconds += verify_s
        if name is not None:
            seconds += self.profile.draft_s(name, drafted, lags[name]) * self.factor(name, start)
        seconds += sum(
            self.profile.draft_s(one, 1, lags[one] + emitted) * self.factor(one, start + emitted)
            for one in asked
        )
        after = {}
        for one, lag in lags.items():
            if one in asked:
                after[one] = 0
            elif one == name and drafted:
                after[one] = self.lag(one, self.header.drafts[one].short if accepted == drafted else 0)
            else:
                after[one] = self.lag(one, lag + emitted)
        return seconds, (start + emitted, tuple(after.values()))

    def certain(self, state, move):
        """Return the outcomes of a move with their probabilities, all accepted tokens known."""
        name = move[0]
        agreed = int(self.text.drafts[name].agreed[state[0]]) if name is not None else 0
        return [(1.0, min(self.drafted(state, move), agreed))]

    def probabilities(self, state, move):
        """Return the outcomes of a move with their probabilities, only the probabilities of tokens known."""
        name = move[0]
        if name is None or self.text.drafts[name].acceptance_probs is None:
            return self.certain(state, move)
        known = self.text.drafts[name].acceptance_probs[state[0] :].tolist()
        outcomes, passed, drafted = [], 1.0, self.drafted(state, move)
        for place in range(drafted):
            chance = known[place] if place < len(known) else 0.0
            outcomes.append((passed * (1.0 - chance), place))
            passed *= chance
        return [*outcomes, (passed, drafted)]

    def best(self, outcomes):
        """Return the least expected seconds over everything that can be done."""

        @cache
        def value(state):
            if state[0] >= self.end:
                return 0.0
            return min(self.through(state, move, outcomes, value) for move in self.moves(state))

        return value(self.beginning)

    def through(self, state, move, outcomes, value):
        total = 0.0
        for chance, accepted in outcomes(state, move):
            if chance:
                seconds, after = self.round(state, move, accepted)
                total += chance * (seconds + value(after))
        return total

    def expected(self, choose):
        """Return the expected seconds of one way of choosing, over all draws."""

        @cache
        def value(state):
            if state[0] >= self.end:
                return 0.0
            return self.through(state, choose(state), self.probabilities, value)

        return value(self.beginning)


@settings(deadline=None, max_examples=60)
@given(lab_recordings(most_tokens=7, longest=3, texts=1))
def test_the_clairvoyant_optimum_is_that_of_brute_force(recording):
    for text in recording:
        game = Game(text, recording.header)
        found = clairvoyant(text, recording.header)
        assert found.exact
        assert found.seconds == pytest.approx(game.best(game.certain), rel=TIGHT)


@settings(deadline=None, max_examples=60)
@given(lab_recordings(most_tokens=7, longest=3, texts=1, sampled=True))
def test_the_optimum_in_expectation_is_that_of_brute_force(recording):
    for text in recording:
        game = Game(text, recording.header)
        found = expectation(text, recording.header)
        assert found.seconds == pytest.approx(game.best(game.probabilities), rel=TIGHT)
        if all(
            starts.acceptance_probs is None or set(starts.acceptance_probs) <= {0, 1}
            for starts in text.drafts.values()
        ):
            assert found.seconds == pytest.approx(clairvoyant(text, recording.header).seconds, rel=TIGHT)


@settings(deadline=None)
@given(lab_recordings())
def test_the_choices_take_what_the_optimum_says_and_follow_the_rules(recording):
    for text in recording:
        game = Game(text, recording.header)
        found = clairvoyant(text, recording.header)
        assert taken_s(found) == pytest.approx(found.seconds, rel=TIGHT)
        at = 0
        for choice in found.choices:
            assert choice.position == at
            assert (choice.draft == "") == (choice.gamma == 0)
            assert choice.gamma <= min(recording.header.longest, text.max_new_tokens - at - 1)
            if choice.draft:
                starts = text.drafts[choice.draft]
                assert choice.gamma <= starts.offered[at]
                assert choice.accepted == min(choice.gamma, starts.agreed[at])
            assert choice.emitted == min(choice.accepted + 1, game.end - at)
            at += choice.emitted
        assert at == game.end


@settings(deadline=None)
@given(lab_recordings(), st.integers(0, 1 << 16))
def test_no_sequence_of_choices_beats_the_optimum(recording, seed):
    random = Random(seed)
    for text in recording:
        game = Game(text, recording.header)
        best = clairvoyant(text, recording.header).seconds
        for _ in range(10):
            state, total = game.beginning, 0.0
            while state[0] < game.end:
                move = random.choice(list(game.moves(state)))
                seconds, state = game.round(state, move, game.certain(state, move)[0][1])
                total += seconds
            assert total >= best * (1 - TIGHT)


@settings(deadline=None, max_examples=50)
@given(lab_recordings(sampled=True, most_tokens=8), st.integers(0, 1 << 16))
def test_no_way_of_choosing_beats_the_optimum_in_expectation_on_average(recording, seed):
    for text in recording:
        game = Game(text, recording.header)
        best = expectation(text, recording.header).seconds
        assert best >= 0
        for number in range(5):
            choose = cache(lambda state: Random(f"{seed}/{number}/{state}").choice(list(game.moves(state))))  # noqa: B023
            assert game.expected(choose) >= best * (1 - TIGHT)


@settings(deadline=None)
@given(lab_recordings(sampled=True))
def test_who_foresees_chance_needs_no_longer_than_who_does_not(recording):
    for text in recording:
        blind = expectation(text, recording.header)
        assert taken_s(blind) >= clairvoyant(text, recording.header).seconds * (1 - TIGHT)


@settings(deadline=None)
@given(lab_recordings(), st.integers(1, 2000))
def test_a_bound_on_fewer_states_is_never_above_the_optimum(recording, cells):
    for text in recording:
        exact = clairvoyant(text, recording.header)
        bound = clairvoyant(text, recording.header, cells=cells)
        assert bound.seconds <= exact.seconds * (1 + TIGHT)
        if bound.exact:
            assert bound.seconds == exact.seconds


def made(bits, *, catch_up=0.0, longest=8, price=0.1, prompt=8):
    """Return a recording of one text with one model as its draft, and its text."""
    bits = np.array(bits)
    count = len(bits)
    padded = np.concatenate([bits, np.zeros(longest, bool)])
    agreed = [int(np.cumprod(padded[start : start + longest]).sum()) for start in range(count)]
    starts = Starts(np.full(count, longest, np.int16), np.array(agreed, np.int16))
    profile = LatencyProfile(
        {1: 1.0, 11: 1.12}, 0, 0.0, {"draft": DraftTimes({1: price}, {0: 0.0, 1000: 1000 * catch_up})}, 0.0
    )
    info = DraftInfo(caches=True, short=1, signals=frozenset(), match_lengths=False, scores=True)
    header = Header({}, longest, "greedy", {"draft": info}, profile, made_up=True)
    text = Text("one", "made", "", prompt, None, count, (1,) * count, "length", True, None, {"draft": starts})
    return Recording(header, (), TextsInMemory([text])), text


@pytest.mark.parametrize("seed", range(5))
def test_policies_that_stop_and_score_at_any_moment_do_not_beat_it(seed):
    random = Random(seed)
    recording, text = made([random.random() < 0.7 for _ in range(80)], catch_up=0.02)
    best = clairvoyant(text, recording.header).seconds
    bits = [bool(agreed) for agreed in text.drafts["draft"].agreed]
    for number in range(20):
        policy = ChaoticPolicy(number, signals=frozenset({"top1"}))
        rounds = play(policy, bits, costs=recording.header.costs)
        assert sum(done.total_s for done in rounds) >= best


def test_it_knows_when_an_idle_cache_is_not_worth_filling():
    recording, text = made([False] * 30 + [True] * 3, catch_up=0.2)
    assert all(choice.gamma == 0 for choice in clairvoyant(text, recording.header).choices)
    recording, text = made([False] * 30 + [True] * 3)
    assert [choice.gamma for choice in clairvoyant(text, recording.header).choices][-1] == 2


def test_where_catching_up_grows_faster_than_its_length_it_keeps_a_cache_filled_by_scoring():
    recording, text = made([False] * 20 + [True] * 20, price=0.01, prompt=1)
    profile = LatencyProfile(
        {1: 1.0, 2: 1.5, 9: 1.5},
        0,
        0.0,
        {"draft": DraftTimes({1: 0.01}, {0: 0.0, 1: 0.0, 2: 0.1, 20: 90})},
        0,
    )
    header = Header({}, 8, "greedy", recording.header.drafts, profile)
    found = clairvoyant(text, header)
    assert taken_s(found) == pytest.approx(found.seconds)
    never = Header({}, 8, "greedy", {"draft": DraftInfo(True, 1, frozenset(), False, False)}, profile)
    assert found.seconds < clairvoyant(text, never).seconds - 1
