"""The kit passes what is right and fails what is wrong."""

from dataclasses import replace
from itertools import count

import pytest

from paceline.backends.prompt_lookup import PromptLookupConfig
from paceline.backends.toy import ToyDraft, ToyTarget
from paceline.backends.toy_sessions import (
    SampledToyDraft,
    SampledToyTarget,
    ToyDraftSession,
    ToyTargetSession,
)
from paceline.core.proposals import TokenProposal, TokenVerdict
from paceline.core.records import Capabilities
from paceline.core.rejection_sampling import SeededRng
from paceline.core.testing.backends import check_backend
from paceline.core.trees import PathVerdict, verify_tree_greedy


def toy_draft(target):
    return ToyDraft(target, agreement=0.7)


def test_the_toy_pair_passes():
    check_backend(ToyTarget, toy_draft)


def test_prompt_lookup_passes_behind_the_toy_target():
    check_backend(ToyTarget, PromptLookupConfig().build_draft)


def test_a_target_alone_passes():
    check_backend(ToyTarget)


class BrokenTarget(ToyTarget):
    session = ToyTargetSession

    def open(self, prompt):
        return self.session(self, list(prompt))


class Credulous(ToyTargetSession):
    def verify(self, proposal):
        if proposal is None:
            return ToyTargetSession.verify(self, None)
        tokens = tuple(proposal.tokens)
        return TokenVerdict(len(tokens), (*tokens, self.model.next([*self.context, *tokens])))


class Forgetful(ToyTargetSession):
    def advance(self, tokens):
        self.context.extend(tokens[:1])


class Leaky(ToyTargetSession):
    def verify(self, proposal):
        verdict = ToyTargetSession.verify(self, proposal)
        self.context.extend(proposal.tokens if proposal is not None else ())
        return verdict


class ShortVerdict(ToyTargetSession):
    def verify(self, proposal):
        verdict = ToyTargetSession.verify(self, proposal)
        return TokenVerdict(verdict.accepted, verdict.tokens[: max(1, verdict.accepted)])


class ClosesOnce(ToyTargetSession):
    open = True

    def close(self):
        assert self.open, "closed twice"
        self.open = False


@pytest.mark.parametrize("session", [Credulous, Forgetful, Leaky, ShortVerdict, ClosesOnce])
def test_a_broken_target_fails(session):
    target = type("Broken", (BrokenTarget,), {"session": type(session.__name__, (session,), {})})
    with pytest.raises(AssertionError):
        check_backend(target, toy_draft, shrink=False)


class BrokenDraft(ToyDraft):
    session = ToyDraftSession

    def open(self, prompt):
        return self.session(self, list(prompt))


class Eager(ToyDraftSession):
    def draft(self, gamma, control):
        return super().draft(gamma + 1, control)


class Deaf(ToyDraftSession):
    def advance(self, tokens):
        super().advance(tokens[:1])


class Optimist(ToyDraftSession):
    def advance(self, tokens):
        super().advance(tokens)
        self.lag += 2


class DropsTheLast(ToyDraftSession):
    def draft(self, gamma, control):
        made = super().draft(gamma, control)
        if control is not None and control.signals and len(made) > 1:
            return TokenProposal(made.tokens[:-1], made.signals[:-1])
        return made


class Mute(ToyDraftSession):
    def draft(self, gamma, control):
        return TokenProposal(super().draft(gamma, control).tokens)


class Foreign(ToyDraftSession):
    def draft(self, gamma, control):
        made = super().draft(gamma, control)
        return TokenProposal((*made.tokens[:-1], 10**6), made.signals)


class Listing(ToyDraftSession):
    def draft(self, gamma, control):
        return [1] * gamma


class Lost(ToyDraftSession):
    def draft(self, gamma, control):
        return self.cache


class Stubborn(ToyDraftSession):
    def close(self):
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("session", "said"),
    [
        (Eager, "D1: .* tokens proposed where"),
        (Deaf, "S1: .* after advance"),
        (Optimist, "S1: the draft's lag is .* it counts the tokens"),
        (DropsTheLast, "D2: .* the token that stops stays"),
        (Mute, "D2: 0 signals for .* one record for each token"),
        (Foreign, "D1: .* the target's vocabulary"),
        (Listing, r"D1: draft\(\) must return a proposal, as TokenProposal"),
        (Lost, "no attribute 'cache'"),
        (Stubborn, "no"),
    ],
)
def test_a_broken_draft_fails_and_is_told_what_is_wrong_and_where(session, said):
    made = type("Broken", (BrokenDraft,), {"session": session})
    with pytest.raises((AssertionError, AttributeError, RuntimeError), match=said) as caught:
        check_backend(ToyTarget, lambda target: made(target, agreement=0.7), shrink=False)
    assert any(f"in {session.__name__} (" in note for note in caught.value.__notes__)
    if session in (Eager, Listing, Lost, Stubborn):
        assert any(f"[{__file__}:" in note for note in caught.value.__notes__)


def test_a_draft_that_opens_no_session_fails():
    made = type("Broken", (BrokenDraft,), {"session": staticmethod(lambda *_: None)})
    with pytest.raises(AssertionError, match=r"open\(\) returned None, which has no draft\(\)"):
        check_backend(ToyTarget, made, shrink=False)


def test_sessions_that_share_state_fail():
    shared = []

    class Sharing(ToyTarget):
        def open(self, prompt):
            shared[:] = prompt
            return ToyTargetSession(self, shared)

    with pytest.raises(AssertionError):
        check_backend(Sharing, toy_draft, shrink=False)


def test_logits_that_drift_fail():
    class Drifting(ToyTargetSession):
        rounds = 0

        def advance(self, tokens):
            super().advance(tokens)
            self.rounds += 1

    target = type("Broken", (BrokenTarget,), {"session": type("Drift", (Drifting,), {})})
    check_backend(target, logits=lambda session: [0.0])
    with pytest.raises(AssertionError, match="S1: logits differ"):
        check_backend(target, logits=lambda session: [1e-6 * session.rounds])


class Sampling(ToyTarget):
    """A right target whose sessions that draw are of a class of the test."""

    session = SampledToyTarget

    def open_sampled(self, prompt, sampling):
        return self.session(self, list(prompt), sampling, SeededRng(sampling.seed))


class LeakyDraws(SampledToyTarget):
    def verify(self, proposal):
        verdict = super().verify(proposal)
        self.context.extend(proposal.tokens if proposal is not None else ())
        return verdict


class TrustsDrafts(SampledToyTarget):
    def verify(self, proposal):
        tokens = tuple(proposal.tokens) if proposal is not None else ()
        (last,) = (self._rng.draw(self._chances(tokens)),)
        return TokenVerdict(len(tokens), (*tokens, last))


class OwnChance(SampledToyTarget):
    made = count()

    def __init__(self, model, context, sampling, rng):
        super().__init__(model, context, sampling, SeededRng(next(self.made)))


class Seedless(SampledToyTarget):
    def __init__(self, model, context, sampling, rng):
        super().__init__(model, context, sampling, SeededRng(1))


class Unprocessed(SampledToyTarget):
    def __init__(self, model, context, sampling, rng):
        super().__init__(model, context, replace(sampling, processors=()), rng)


@pytest.mark.parametrize(
    ("session", "complaint"),
    [
        (LeakyDraws, "[SV]1"),
        (TrustsDrafts, "V1"),
        (OwnChance, "chance must come from `sampling.seed` alone"),
        (Seedless, "the seed is not used"),
        (Unprocessed, "it applies processors, but under one it wrote"),
    ],
)
def test_a_target_that_draws_wrongly_fails_though_it_is_right_when_greedy(session, complaint):
    right = type("Right", (Sampling,), {"session": SampledToyTarget})
    check_backend(right, toy_draft, max_examples=5)
    wrong = type("Wrong", (Sampling,), {"session": session})
    with pytest.raises(AssertionError, match=complaint):
        check_backend(wrong, toy_draft, shrink=False)
    check_backend(lambda: wrong(capabilities=Capabilities()), toy_draft, max_examples=5)


def test_a_draft_that_says_it_drew_from_what_is_no_distribution_fails():
    class Lying(SampledToyDraft):
        def _propose(self, tokens, signals):
            made = super()._propose(tokens, signals)
            return replace(made, draft_probs=tuple([0.9] * len(chances) for chances in made.draft_probs))

    class Draft(ToyDraft):
        def open_sampled(self, prompt, sampling):
            return Lying(self, list(prompt), sampling, SeededRng(sampling.seed))

    with pytest.raises(AssertionError, match=r"add up to|V1"):
        check_backend(ToyTarget, lambda target: Draft(target, agreement=0.7), shrink=False)


class StopsShort(ToyTargetSession):
    def verify_tree(self, proposal):
        verdict = super().verify_tree(proposal)
        if not verdict.path:
            return verdict
        return PathVerdict(verdict.accepted - 1, verdict.tokens[:-1], verdict.path[:-1])


class SeesSiblings(ToyTargetSession):
    def verify_tree(self, proposal):
        return verify_tree_greedy(
            proposal, lambda node: self.model.next([*self.context, *proposal.tokens[: node + 1]])
        )


class KeepsTheTree(ToyTargetSession):
    def verify_tree(self, proposal):
        verdict = super().verify_tree(proposal)
        self.context.extend(proposal.tokens)
        return verdict


class WrongPath(ToyTargetSession):
    def verify_tree(self, proposal):
        verdict = super().verify_tree(proposal)
        return PathVerdict(verdict.accepted, verdict.tokens, tuple(range(verdict.accepted)))


@pytest.mark.parametrize("session", [StopsShort, SeesSiblings, KeepsTheTree, WrongPath])
def test_a_target_that_is_wrong_about_trees_alone_fails(session):
    target = type("Broken", (BrokenTarget,), {"session": type(session.__name__, (session,), {})})
    with pytest.raises(AssertionError, match=r"V2|S1"):
        check_backend(target, toy_draft, max_examples=60, shrink=False)


class Bushy(ToyDraftSession):
    def draft_tree(self, gamma, nodes, width, control):
        return super().draft_tree(gamma, nodes, width + 1, control)


class Deeper(ToyDraftSession):
    def draft_tree(self, gamma, nodes, width, control):
        return super().draft_tree(gamma + 1, nodes, 1, control)


class Grows(ToyDraftSession):
    def draft_tree(self, gamma, nodes, width, control):
        tree = super().draft_tree(gamma, nodes, width, control)
        self._context.append(tree.tokens[0])
        return tree


@pytest.mark.parametrize("session", [Bushy, Deeper, Grows])
def test_a_draft_that_is_wrong_about_trees_alone_fails(session):
    def draft(target):
        return type("Broken", (BrokenDraft,), {"session": session})(target, 0.7)

    with pytest.raises(AssertionError, match=r"D1|S1"):
        check_backend(ToyTarget, draft, max_examples=60, shrink=False)
