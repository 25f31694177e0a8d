"""The counter for the first part of a block, the cache for the rest."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.backends.prompt_lookup import PromptLookup
from paceline.backends.toy import ToyDraft, ToyTarget
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.errors import CapabilityError
from paceline.core.records import Capabilities, TokenSignals
from paceline.policies.baselines.cached_fsm import CachedFsmConfig, Ngrams

TEXT = st.lists(st.integers(0, 3), max_size=60)


def runs(text, n):
    return [tuple(text[i : i + n]) for i in range(len(text) - n + 1)]


@settings(deadline=None)
@given(text=TEXT, cuts=st.lists(st.integers(0, 60), max_size=8), n=st.integers(2, 4))
def test_however_a_text_grows_its_runs_are_known_and_no_others(text, cuts, n):
    known = Ngrams(n, 1000)
    for at in [*sorted(cuts), len(text)]:
        assert known.read(text[:at], new=False) == tuple(text[:at])[1 - n :]
        assert len(known) == len(set(runs(text[:at], n)))
    assert all(run in known for run in runs(text, n))
    assert (4,) * n not in known


@settings(deadline=None)
@given(text=TEXT, step=st.integers(1, 60), most=st.integers(1, 20))
def test_no_more_is_kept_than_allowed_and_the_latest_runs_are(text, step, most):
    known = Ngrams(2, most)
    for at in range(0, len(text) + step, step):
        known.read(text[:at], new=False)
        assert len(known) <= most
    assert all(run in known for run in runs(text, 2)[-most:])


@settings(deadline=None)
@given(first=TEXT, second=TEXT)
def test_a_new_text_replaces_the_old_one(first, second):
    known, fresh = Ngrams(3, 1000), Ngrams(3, 1000)
    known.read(first, new=True)
    known.read(second, new=True)
    fresh.read(second, new=True)
    assert len(known) == len(fresh)


def test_a_text_that_does_not_go_on_where_the_last_one_was_left_is_read_afresh():
    known = Ngrams(2, 100)
    known.read([1, 2, 3, 4], new=True)
    known.read([5, 6, 7, 8, 9], new=False)
    assert (1, 2) not in known
    assert (5, 6) in known


def test_a_run_that_is_seen_again_is_not_the_oldest():
    known = Ngrams(2, 3)
    known.read([1, 2, 3, 1, 2, 9], new=True)  # (1, 2) (2, 3) (3, 1) (1, 2) (2, 9)
    assert (1, 2) in known
    assert (2, 3) not in known


SAID = [11, 12, 13, 14, 15, 16, 17, 18, 99, 11]


def drafted(policy, plan, tokens):
    """Return how many of the tokens are drafted under a plan."""
    for position, token in zip(range(plan.gamma), tokens, strict=False):
        if not policy.keep_drafting(TokenSignals(position, token=token)):
            return position + 1
    return min(plan.gamma, len(tokens))


@pytest.mark.parametrize(
    ("draft", "expected"),
    [
        ([12, 13, 14, 15, 16, 17, 18, 99], 8),  # all repeats: as far as max_gamma
        ([12, 13, 14, 50, 16, 17, 18, 99], 4),  # the 4th is new: it is drafted, and no more
        ([50, 51, 52, 53], 2),  # new from the start: gamma tokens all the same
        ([50, 12, 13, 14, 15], 2),  # 50 12 was never said, though 12 was
        ([12, 50, 13, 14, 15], 2),  # the miss is the last of gamma
    ],
)
def test_beyond_gamma_drafting_goes_on_until_a_run_is_new(draft, expected, start):
    policy = CachedFsmConfig(first_gamma=2, max_gamma=8, ngram=2).build()
    plan = policy.plan(start(tokens=SAID))
    assert plan.gamma == 8
    assert drafted(policy, plan, draft) == expected


@pytest.mark.parametrize(("ngram", "expected"), [(2, 6), (3, 6), (4, 2)])
def test_longer_runs_are_harder_to_repeat(ngram, expected, start):
    """One token of context agrees, so the second draft token ends known runs of two and three, and none of four."""
    policy = CachedFsmConfig(first_gamma=2, max_gamma=6, ngram=ngram).build()
    plan = policy.plan(start(tokens=[0, 1, 2, 3, 4, 5, 6, 7, 8, 1]))
    assert drafted(policy, plan, [2, 3, 4, 5, 6, 7]) == expected


def test_without_a_text_it_is_the_counter_alone(start):
    policy = CachedFsmConfig(first_gamma=3).build()
    assert drafted(policy, policy.plan(start()), range(16)) == 3


def test_output_is_remembered_like_the_prompt(start):
    policy = CachedFsmConfig(first_gamma=1, max_gamma=5, ngram=2).build()
    text = [1, 2, 3]
    assert drafted(policy, policy.plan(start(tokens=text)), [7, 8, 9]) == 1
    text = [1, 2, 3, 7, 8, 9, 1, 7]
    assert drafted(policy, policy.plan(start(tokens=text)), [8, 9, 1, 7, 8]) == 5


def test_a_new_request_forgets_the_last_one(start):
    policy = CachedFsmConfig(first_gamma=1, max_gamma=5, ngram=2).build()
    policy.plan(start(tokens=SAID))
    other = [0] * 9 + [11]  # ends as the last one did, so that its start alone tells that it is new
    assert drafted(policy, policy.plan(replace(start(tokens=other), index=0)), [12, 13, 14]) == 1


def gammas_after(done, *rounds):
    policy = CachedFsmConfig(first_gamma=4, min_gamma=2, max_gamma=6).build()
    seen = []
    for accepted, drafted_, ended in rounds:
        policy.observe(done(6, accepted, drafted=drafted_, ended=ended))
        seen.append(policy.state_dict()["gamma"])
    return seen


def test_the_counter_moves_by_hand(done):
    rounds = [
        (4, 4, None),
        (5, 5, None),
        (6, 6, None),
        (3, 6, None),
        (0, 1, None),
        (0, 6, None),
        (0, 6, None),
        (1, 2, None),
    ]
    assert gammas_after(done, *rounds) == [5, 6, 6, 5, 4, 3, 2, 2]


def test_what_the_cache_added_is_not_held_against_the_counter(done):
    assert gammas_after(done, (4, 6, None)) == [5]


@pytest.mark.parametrize("outcome", [(0, 4, "eos"), (4, 4, "length"), (3, 3, None), (0, 0, None)])
def test_a_round_that_was_ended_or_is_too_short_to_tell_leaves_the_counter_alone(outcome, done):
    assert gammas_after(done, outcome) == [4]


def test_a_saved_state_holds_nothing_of_the_text(start):
    policy = CachedFsmConfig().build()
    policy.plan(start(tokens=list(range(1000, 1500))))
    assert json.loads(json.dumps(policy.state_dict())) == {"policy": "cached-fsm", "version": 1, "gamma": 4}


def test_it_drafts_far_where_prompt_lookup_copies():
    class Copyist(ToyTarget):
        def next(self, context):
            return 1 + len(context) % 20

    target = Copyist(seed=0)
    decoder = SpeculativeDecoder(target, {"lookup": PromptLookup()}, CachedFsmConfig(max_gamma=12).build())
    rounds = list(decoder.rounds([1 + i % 20 for i in range(40)], max_new_tokens=60))
    assert rounds[0].drafted == 12
    assert rounds[0].accepted == 12


def test_an_engine_whose_decisions_act_later_is_refused():
    target = ToyTarget(capabilities=Capabilities(action_delay=1))
    with pytest.raises(CapabilityError, match="act at once"):
        SpeculativeDecoder(target, {"draft": ToyDraft(target)}, CachedFsmConfig().build())
