"""Scores of tokens that a draft did not propose, and match lengths before it drafts."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from paceline.backends.prompt_lookup import PromptLookup
from paceline.backends.toy import ToyDraft, ToyTarget
from paceline.core.clock import CostTableClock, RecordedClock
from paceline.core.costs import CostTable
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.errors import BackendError, ContractError
from paceline.core.records import Plan, Requirements
from paceline.core.testing.doubles import ChaoticPolicy, ScriptedPolicy

TARGET = ToyTarget(seed=3)
DRAFTS = {
    "good": ToyDraft(TARGET, agreement=0.8),
    "bad": ToyDraft(TARGET, agreement=0.2),
    "lookup": PromptLookup(),
}
COSTS = CostTable({1: 1.0, 9: 1.3}, {"good": 0.1, "bad": 0.05, "lookup": 0.001}, {"good": 0.01, "bad": 0.01})
EVERY = frozenset(DRAFTS)


class Failing:
    """A draft whose scoring, or whose match length, raises."""

    signals = frozenset()
    lag = 0

    def __init__(self, where):
        self.where = where

    def open(self, prompt):
        return self

    def draft(self, gamma, control):
        raise AssertionError("never asked")

    @property
    def match_length(self):
        if self.where == "match_length":
            raise RuntimeError("no match_length today")
        return 1

    def score(self, tokens):
        raise RuntimeError("no score today")

    def advance(self, tokens):
        pass

    def close(self):
        pass


def rounds(policy, drafts=DRAFTS, **options):
    options = {"max_new_tokens": 40} | options
    return list(SpeculativeDecoder(TARGET, drafts, policy, **options).rounds([1, 2, 3]))


def test_every_draft_but_the_planned_one_says_for_each_token_whether_it_would_have_proposed_it():
    done = rounds(ScriptedPolicy([Plan(3, "good", score=EVERY), Plan(0, score=EVERY)]))

    text = [1, 2, 3]
    for one in done:
        assert one.scores.keys() == EVERY - {one.plan.draft}
        for place, token in enumerate(one.tokens):
            guess, _ = DRAFTS["bad"].guess(text)
            assert one.scores["bad"][place] == float(guess == token)
            text.append(token)
    assert {score for one in done for score in one.scores["bad"]} == {0.0, 1.0}


def test_a_draft_that_scored_has_read_the_text():
    policy = ScriptedPolicy([Plan(2, "good", score=frozenset({"bad"})), Plan(1, "bad")])
    rounds(policy)

    assert [start.drafts["bad"].lag for start in policy.starts[:2]] == [2, 0]


@pytest.mark.parametrize("plan", [Plan(2, "good"), Plan(0)])
def test_nobody_is_asked_unless_the_plan_says_so(plan):
    done = rounds(ScriptedPolicy([plan]))

    assert all(one.scores == {} and one.score_s == 0.0 for one in done)


def test_a_draft_that_cannot_score_is_left_out():
    class Mute:
        signals = frozenset()

        def open(self, prompt):
            session = DRAFTS["good"].open(prompt)
            return type(
                "Session", (), {n: getattr(session, n) for n in ("lag", "draft", "advance", "close")}
            )()

    done = rounds(ScriptedPolicy([Plan(0, score=frozenset({"mute", "bad"}))]), {"mute": Mute(), **DRAFTS})

    assert all(one.scores.keys() == {"bad"} for one in done)


@pytest.mark.parametrize("where", ["match_length", "score"])
def test_a_draft_that_fails_is_blamed_or_left_behind(where):
    drafts = {"failing": Failing(where), **DRAFTS}
    plans = [Plan(2, "good", score=frozenset(drafts))]
    with pytest.raises(BackendError, match=f"draft 'failing' failed: .*no {where} today"):
        rounds(ScriptedPolicy(plans), drafts)

    with capture_logs() as logs:
        done = rounds(ScriptedPolicy(plans), drafts, on_policy_error="fallback")

    plain = rounds(ScriptedPolicy([0]))
    assert [t for one in done for t in one.tokens] == [t for one in plain for t in one.tokens]
    assert [log["draft"] for log in logs] == ["failing"]


@pytest.mark.parametrize("scores", [(), (1.0,) * 99, float("nan"), 1.5, -0.5, "high"])
def test_scores_that_are_no_chances_are_blamed_on_the_draft_and_never_reach_a_policy(scores):
    class Lying(Failing):
        def score(self, tokens):
            return scores if isinstance(scores, tuple) else [scores] * len(tokens)

    drafts = {"lying": Lying("nowhere"), **DRAFTS}
    plans = [Plan(2, "good", score=frozenset({"lying"}))]
    with pytest.raises(BackendError if scores == "high" else ContractError, match="draft 'lying'"):
        rounds(ScriptedPolicy(plans), drafts)
    with capture_logs():
        done = rounds(ScriptedPolicy(plans), drafts, on_policy_error="fallback")
    assert all(one.scores == {} for one in done)


@pytest.mark.parametrize("match_length", [-1, 0.5, float("nan"), "long"])
def test_a_match_length_that_is_no_whole_number_is_blamed_on_the_draft(match_length):
    class Lying(Failing):
        @property
        def match_length(self):
            return match_length

    with pytest.raises(ContractError, match=r"draft 'lying', .*a match length is a whole number"):
        rounds(ScriptedPolicy([0]), {"lying": Lying("nowhere"), **DRAFTS})


def test_scoring_takes_its_time_and_a_recording_repeats_it():
    plans = [Plan(2, "good", score=EVERY), Plan(0, score=EVERY), Plan(1, "bad")]
    first = rounds(ScriptedPolicy(plans), clock=CostTableClock(COSTS))
    # "bad" reads the prompt but its last token, and what was delivered; lookup reads nothing.
    reads = 2 + first[0].emitted
    assert first[0].score_s == pytest.approx(0.05 + 0.01 * reads + 0.001)

    again = rounds(ScriptedPolicy(plans), clock=RecordedClock(first))

    assert [one.score_s for one in again] == pytest.approx([one.score_s for one in first])


def test_the_match_length_of_a_draft_is_shown_before_the_plan_and_kept_with_the_round():
    policy = ScriptedPolicy([Plan(2, "lookup"), Plan(2, "good"), Plan(0)])
    done = rounds(policy)

    assert all(start.drafts["good"].match_length is None for start in policy.starts)
    assert {start.drafts["lookup"].match_length > 0 for start in policy.starts} == {True, False}
    for start, one in zip(policy.starts, done, strict=True):
        assert one.match_length == (
            start.drafts["lookup"].match_length if one.plan.draft == "lookup" else None
        )
        assert one.plan.draft != "lookup" or (one.drafted > 0) == (one.match_length > 0)


@settings(deadline=None)
@given(prompt=st.lists(st.integers(1, 26), min_size=1, max_size=9), seed=st.integers(0, 99))
def test_a_policy_reads_prompt_and_output_as_far_as_they_have_come(prompt, seed):
    class Reader(ChaoticPolicy):
        def plan(self, start):
            seen.append((start.tokens[:], start.tokens[-1], start.tokens[start.context - 2 : start.context]))
            return super().plan(start)

    seen = []
    done = list(
        SpeculativeDecoder(TARGET, DRAFTS, Reader(seed, list(DRAFTS))).rounds(prompt, max_new_tokens=20)
    )

    text = tuple(prompt)
    for shown, one in zip(seen, done, strict=True):
        assert shown == (text, text[-1], text[len(text) - 2 :] if len(text) > 1 else text[-1:])
        text += one.tokens


@pytest.mark.parametrize("wanted", [True, False])
def test_the_perplexity_of_a_prompt_is_measured_once_and_only_where_it_is_wanted(wanted):
    class Perplexed(ToyTarget):
        def perplexity(self, prompt):
            asked.append(prompt)
            return 7.0

    asked = []
    policy = ScriptedPolicy([0])
    policy.requires = Requirements(perplexity=wanted)
    list(SpeculativeDecoder(Perplexed(seed=3), {}, policy).rounds([1, 2, 3], max_new_tokens=5))

    assert asked == [[1, 2, 3]] * wanted
    assert {start.perplexity for start in policy.starts} == {7.0 if wanted else None}
