"""Recordings of a draft hold what it does when asked at every start, from a session of its own."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from paceline.backends.prompt_lookup import PromptLookup
from paceline.backends.toy import ToyDraft, ToyTarget
from paceline.core.errors import ContractError
from paceline.core.proposals import DraftControl, TokenProposal
from paceline.core.records import SIGNALS
from paceline.lab.recording.draft_walk import (
    DraftQuery,
    agreement,
    match_lengths_of,
    memoryless,
    probe_everywhere,
    walk_draft,
)

LONGEST = 5


def written(target, prompt, count):
    """The target's own text."""
    session, found = target.open(prompt), []
    while len(found) < count and (not found or found[-1] not in target.eos):
        token = session.verify(None).tokens[0]
        session.advance([token])
        found.append(token)
    return found


def asked_afresh(draft, prompt, tokens, longest):
    """Proposals of a draft from each start, each from a session that never drafted before."""
    for start in range(len(tokens)):
        session = draft.open([*prompt, *tokens[:start]])
        proposal = session.draft(longest, DraftControl(draft.signals))
        yield proposal, agreement(proposal.tokens, tokens[start:])


def check(starts, draft, prompt, tokens, longest):
    for start, (proposal, agreed) in enumerate(asked_afresh(draft, prompt, tokens, longest)):
        assert starts.offered[start] == len(proposal)
        assert starts.agreed[start] == agreed
        assert starts.signals.keys() == draft.signals
        for name, rows in starts.signals.items():
            wanted = [one.value(name) for one in proposal.signals]
            assert np.array_equal(rows[start, : len(wanted)], np.array(wanted, rows.dtype))


@settings(deadline=None)
@given(
    seed=st.integers(0, 99),
    share=st.sampled_from([0.0, 0.1]),
    agree=st.sampled_from([0.0, 0.3, 0.8, 1.0]),
    count=st.integers(1, 20),
    longest=st.integers(1, 6),
)
def test_a_draft_led_along_the_text_is_recorded_as_if_asked_everywhere(seed, share, agree, count, longest):
    target = ToyTarget(seed=seed, eos_share=share)
    draft, prompt = ToyDraft(target, agreement=agree), [3, 1, 4]
    tokens = written(target, prompt, count)
    session = draft.open(prompt)
    assert memoryless(session)
    starts = walk_draft(DraftQuery("d", session, draft.signals, target.vocabulary), tokens, longest)
    check(starts, draft, prompt, tokens, longest)


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=20), st.integers(1, 6))
def test_any_other_draft_is_recorded_as_it_answers_at_every_start(tokens, longest):
    draft, prompt = PromptLookup(), [1, 2, 1]
    session = draft.open(prompt)
    assert not memoryless(session)
    match_lengths = match_lengths_of("d", draft.open(prompt), tokens)
    starts = probe_everywhere(
        DraftQuery("d", session, draft.signals, 4), tokens, longest, match_lengths=match_lengths
    )
    check(starts, draft, prompt, tokens, longest)
    assert starts.match_lengths.tolist() == [
        draft.open([*prompt, *tokens[:start]]).match_length for start in range(len(tokens))
    ]


def counted(draft):
    """Count how often a draft is asked."""
    calls = []
    plain = draft.draft
    draft.draft = lambda gamma, control: calls.append(gamma) or plain(gamma, control)
    return calls


@pytest.mark.parametrize("signals", [frozenset(), SIGNALS])
def test_a_draft_that_knows_the_context_alone_is_asked_about_once_an_error(signals):
    target = ToyTarget(seed=5)
    draft, prompt = ToyDraft(target, agreement=0.8), [1, 2]
    tokens = written(target, prompt, 200)
    session = draft.open(prompt)
    calls = counted(session)
    starts = walk_draft(DraftQuery("d", session, signals, target.vocabulary), tokens, LONGEST)
    errors = int((starts.agreed == 0).sum())
    # Without signals one for each error and each full run of LONGEST; with them another for what follows each error.
    assert errors <= len(calls) <= (2 if signals else 1) * errors + 200 / LONGEST
    assert len(calls) < 100


class Limited:
    """A draft that is right, and whose context ends somewhere."""

    signals = SIGNALS
    memoryless = True
    lag = 0

    def __init__(self, tokens, room, agree):
        self.tokens, self.room, self.at, self.agree = tokens, room, 0, agree

    def draft(self, gamma, control):
        count = max(0, min(gamma, self.room - self.at))
        ahead = self.tokens[self.at : self.at + count]
        return TokenProposal(
            tuple(t if ok else t + 1 for t, ok in zip(ahead, self.agree[self.at :], strict=False))
        )

    def advance(self, tokens):
        self.at += len(tokens)


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=14, max_size=14), st.integers(0, 14), st.integers(1, 5))
@example([False] * 12 + [True, False], 14, 2)
def test_a_context_that_ends_is_recorded_from_every_start(agree, room, longest):
    tokens = list(range(14))
    starts = walk_draft(DraftQuery("d", Limited(tokens, room, agree), frozenset(), 20), tokens, longest)
    for start in range(14):
        alone = Limited(tokens, room, agree)
        alone.at = start
        proposal = alone.draft(longest, None)
        assert starts.offered[start] == len(proposal)
        assert starts.agreed[start] == agreement(proposal.tokens, tokens[start:])


def test_a_draft_that_proposes_what_is_no_token_is_named():
    class Wild(Limited):
        def draft(self, gamma, control):
            return TokenProposal((99,))

    with pytest.raises(ContractError, match=r"draft 'wild'.*99"):
        walk_draft(DraftQuery("wild", Wild([1], 9, [True]), frozenset(), 20), [1], 3)


def test_a_match_length_that_is_no_whole_number_is_refused():
    class Vague(Limited):
        match_length = 0.5

    with pytest.raises(ContractError, match=r"draft 'vague'"):
        match_lengths_of("vague", Vague([1], 9, [True]), [1])
