"""A proposal that is still on a device is verified before it is read, and its time is told apart all the same."""

from dataclasses import dataclass, field

import pytest

from paceline.backends.toy import ToyDraft, ToyTarget
from paceline.core.clock import CostTableClock, WallClock
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.errors import ContractError
from paceline.core.proposals import TokenProposal
from paceline.core.testing.doubles import FixedCosts, ScriptedPolicy


class Replaced:
    """A session with a method replaced."""

    def __init__(self, session, **methods):
        self._session = session
        vars(self).update(methods)

    def __getattr__(self, name):
        return getattr(self._session, name)


class Late:
    """A proposal that notes when it is read."""

    def __init__(self, found, story, seconds):
        self._found = found
        self._story = story
        self.seconds = seconds

    def __len__(self):
        return len(self.tokens)

    @property
    def tokens(self):
        self._story.append("read")
        return self._found.tokens

    @property
    def signals(self):
        return ()


@dataclass
class LateDraft:
    """A toy draft on a make-believe device; `seconds` is what the device says it took."""

    target: ToyTarget
    seconds: float | None = None
    story: list = field(default_factory=list)
    wrong: int | None = None
    signals = frozenset()

    def open(self, prompt):
        session = ToyDraft(self.target, agreement=0.7).open(prompt)

        def draft(gamma, control):
            self.story.append("draft")
            found = session.draft(gamma, control)
            if self.wrong is not None:
                found = TokenProposal((self.wrong,) * gamma)
            return Late(found, self.story, self.seconds)

        return Replaced(session, draft=draft)


class ToldTarget:
    """A target that verifies without reading what it is handed, as a device would."""

    def __init__(self, target, story):
        self._target = target
        self._story = story

    def __getattr__(self, name):
        return getattr(self._target, name)

    def open(self, prompt):
        session = self._target.open(prompt)

        def verify(proposal):
            self._story.append("verify")
            return session.verify(None if proposal is None else proposal._found)

        return Replaced(session, verify=verify)


class Steps(WallClock):
    """A wall clock that goes on by one second at each look."""

    def __init__(self):
        self._now = 0.0

    def now(self):
        self._now += 1.0
        return self._now


def decoder(draft, clock, **options):
    target = ToldTarget(draft.target, draft.story)
    return SpeculativeDecoder(target, {"late": draft}, ScriptedPolicy([3]), clock=clock, **options)


def test_it_is_verified_before_it_is_read():
    draft = LateDraft(ToyTarget(seed=1))
    next(decoder(draft, WallClock()).rounds([1, 2], max_new_tokens=10))
    assert draft.story[:2] == ["draft", "verify"]
    assert "read" in draft.story


def test_a_virtual_clock_is_told_of_the_draft_before_its_verification():
    draft = LateDraft(ToyTarget(seed=1), seconds=99.0)
    done = next(decoder(draft, CostTableClock(FixedCosts(1.0, 10.0))).rounds([1, 2], max_new_tokens=10))
    assert draft.story.index("read") < draft.story.index("verify")
    assert (done.draft_s, done.verify_s) == (3.0, 10.0)


@pytest.mark.parametrize(
    ("seconds", "draft_s", "verify_s"),
    [(None, 1.0, 1.0), (0.5, 1.0, 1.0), (1.25, 1.25, 0.75), (5.0, 2.0, 0.0)],
)
def test_what_the_device_still_worked_is_time_of_the_draft(seconds, draft_s, verify_s):
    done = next(decoder(LateDraft(ToyTarget(seed=1), seconds), Steps()).rounds([1, 2], max_new_tokens=10))
    assert (done.draft_s, done.verify_s) == (draft_s, verify_s)


def test_the_text_and_the_rounds_are_those_of_a_proposal_that_is_read_at_once():
    target = ToyTarget(seed=1)
    late = decoder(LateDraft(target), WallClock()).generate([1, 2], max_new_tokens=30)
    plain = SpeculativeDecoder(target, {"late": ToyDraft(target, agreement=0.7)}, ScriptedPolicy([3]))
    wanted = plain.generate([1, 2], max_new_tokens=30)
    assert late.tokens == wanted.tokens
    assert (late.totals.drafted, late.totals.accepted) == (wanted.totals.drafted, wanted.totals.accepted)
    assert wanted.totals.accepted > 0


def test_one_that_breaks_the_contract_is_found_after_all():
    draft = LateDraft(ToyTarget(seed=1), wrong=10_000)
    with pytest.raises(ContractError, match=r"draft 'late'.*proposed 10000"):
        next(decoder(draft, WallClock()).rounds([1, 2], max_new_tokens=10))


def test_with_fallback_the_text_goes_on_without_the_draft():
    draft = LateDraft(ToyTarget(seed=1), wrong=10_000)
    found = decoder(draft, WallClock(), on_policy_error="fallback").generate([1, 2], max_new_tokens=10)
    alone = SpeculativeDecoder(draft.target, {}, ScriptedPolicy([0])).generate([1, 2], max_new_tokens=10)
    assert found.tokens == alone.tokens
    assert draft.story.count("draft") == 1
