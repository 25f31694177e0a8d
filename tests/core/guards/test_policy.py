"""Policies, drafts and targets that break the contract of a round."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from paceline.backends.prompt_lookup import PromptLookup
from paceline.backends.toy import ToyDraft, ToyTarget
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.errors import BackendError, CapabilityError, ContractError
from paceline.core.guards.policy import check_fit
from paceline.core.proposals import TokenProposal, TokenVerdict
from paceline.core.records import SIGNALS, Capabilities, Plan, Requirements, StopRule
from paceline.core.testing.doubles import BREACHES, LawlessPolicy, ScriptedPolicy

TARGET = ToyTarget(seed=3)
NEEDS = {"raise-in-keep-drafting": SIGNALS}

MESSAGES = {
    "over-budget": r"between 0 and the budget of \d+, found \d+",
    "negative-gamma": "between 0 and the budget of .*, found -1",
    "nan-gamma": "gamma must be an int, found nan",
    "text-gamma": "gamma must be an int, found '4'",
    "unknown-draft": "there is no draft 'a draft nobody has'; the drafts are 'draft'",
    "unknown-score": "score must be a frozenset of drafts, found frozenset",
    "too-many-nodes": "trees of at most 64 nodes can be verified, found a tree of 66",
    "fewer-nodes-than-gamma": "a tree has nodes >= gamma >= 1 .* found gamma 2, nodes 1",
    "no-width": "a width of at least 1.* width 0",
    "no-plan": "must return a Plan, found None",
    "raise-in-plan": "plan.. raised RuntimeError",
    "raise-in-keep-drafting": "keep_drafting.. raised RuntimeError",
    "raise-in-observe": "observe.. raised RuntimeError",
}


def alone(limit):
    output = [5]
    while len(output) <= limit:
        output.append(TARGET.next(output))
    return tuple(output[1:])


def run(policy, drafts=None, target=TARGET, limit=30, **options):
    drafts = drafts or {"draft": ToyDraft(TARGET, agreement=0.7)}
    return SpeculativeDecoder(target, drafts, policy, **options).generate([5], max_new_tokens=limit)


@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize("breach", BREACHES)
def test_a_breach_is_blamed_on_the_policy_by_name(breach, after):
    policy = LawlessPolicy(breach, after=after, needs=NEEDS.get(breach, frozenset()))

    with pytest.raises(ContractError, match=MESSAGES[breach]) as caught:
        run(policy)

    assert "policy LawlessPolicy" in str(caught.value)


@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize("breach", BREACHES)
def test_with_fallback_the_text_is_finished_unharmed_and_the_breach_logged(breach, after):
    policy = LawlessPolicy(breach, after=after, needs=NEEDS.get(breach, frozenset()))

    with capture_logs() as logs:
        result = run(policy, on_policy_error="fallback")

    assert alone(30) == result.tokens
    assert [entry["event"] for entry in logs] == ["policy_failed"]
    (failure,) = result.failures
    assert failure.part.startswith("policy LawlessPolicy (")
    assert failure.round == after
    assert re.search(MESSAGES[breach], failure.error)


class Careless(ScriptedPolicy):
    def __init__(self):
        super().__init__([2])

    def observe(self, done):
        if done.index == 3:
            raise KeyError("rate")


def line(text):
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    return f"{__file__}:{next(number for number, words in enumerate(lines, 1) if text in words)}"


def test_a_policy_that_raises_is_told_with_the_line_of_its_own_code():
    place = line('KeyError("rate")')
    with pytest.raises(ContractError) as caught:
        run(Careless())
    assert place in str(caught.value)
    with capture_logs() as logs:
        result = run(Careless(), on_policy_error="fallback")
    assert (logs[0]["place"], logs[0]["round"]) == (place, 3)
    assert result.failures[0].place == place


def test_a_policy_that_cannot_be_made_is_a_failure_before_the_first_round():
    def make():
        raise RuntimeError("no weights")

    with capture_logs():
        result = run(make, on_policy_error="fallback")
    assert [(failure.round, "no weights" in failure.error) for failure in result.failures] == [(None, True)]


def test_a_request_without_failures_has_none_though_the_one_before_had_some():
    speculating = SpeculativeDecoder(
        TARGET, {"dead": Dead(), "d": ToyDraft(TARGET)}, ScriptedPolicy([3]), on_policy_error="fallback"
    )
    with capture_logs():
        failed = speculating.generate([5], max_new_tokens=9)
        assert [(failure.part, failure.round) for failure in failed.failures] == [("draft 'dead'", 0)]
        speculating.drafts.pop("dead")
        assert speculating.generate([5], max_new_tokens=9).failures == speculating.failures == ()


def test_after_a_fallback_the_next_request_trusts_the_policy_again():
    policy = LawlessPolicy("raise-in-plan", after=2)
    speculating = SpeculativeDecoder(TARGET, {"d": ToyDraft(TARGET)}, policy, on_policy_error="fallback")
    with capture_logs():
        speculating.generate([5], max_new_tokens=20)
        policy._lawful = 10**6

        assert speculating.generate([5], max_new_tokens=20).totals.drafted > 10


def test_gammas_an_engine_does_not_run_are_refused():
    target = ToyTarget(seed=3, capabilities=TARGET.capabilities.__class__(gammas=(0, 2, 4)))

    with pytest.raises(ContractError, match="this engine runs gamma 0, 2, 4, found 3"):
        run(ScriptedPolicy([3]), target=target)


def test_a_stop_rule_the_draft_cannot_evaluate_is_refused():
    class Deaf(Misbehaving):
        def propose(self, gamma):
            return TokenProposal((1,) * gamma)

    with pytest.raises(ContractError, match="cannot evaluate the stop rule"):
        run(ScriptedPolicy([Plan(2, stop=StopRule("top1", below=0.5))]), {"draft": Deaf()})


def listening(draft=None):
    policy = ScriptedPolicy([1])
    policy.requires = Requirements(signals=frozenset({"entropy"}), draft=draft)
    return policy


MIXED = {"small": ToyDraft(TARGET), "lookup": PromptLookup()}


def test_a_policy_that_stops_by_a_signal_is_refused_where_a_draft_it_may_plan_does_not_deliver_it():
    turned = dict(reversed(MIXED.items()))
    with pytest.raises(CapabilityError, match="stops drafting by entropy, which the draft 'lookup' does not"):
        check_fit(listening(), Capabilities(), turned)
    check_fit(listening(), Capabilities(), MIXED)
    selector = listening()
    selector.requires = replace(selector.requires, draft_switch="round")
    with pytest.raises(CapabilityError, match="which the draft 'lookup' does not"):
        check_fit(selector, Capabilities(), MIXED)


@pytest.mark.parametrize("name", ["small", "lookup"])
def test_a_policy_that_names_its_draft_needs_the_signal_of_that_draft_only(name):
    if name == "small":
        check_fit(listening(name), Capabilities(), MIXED)
    else:
        with pytest.raises(CapabilityError, match="'lookup'"):
            check_fit(listening(name), Capabilities(), MIXED)


def test_a_signal_the_engine_does_not_pass_on_is_not_delivered():
    deaf = Capabilities(signals=frozenset({"token", "prob"}))
    with pytest.raises(CapabilityError, match="'small'"):
        check_fit(listening("small"), deaf, MIXED)


def test_without_drafts_there_is_nothing_to_stop():
    check_fit(listening(), Capabilities(), {})


class Misbehaving:
    """A draft without signals, its sessions included."""

    signals = frozenset()
    lag = 0

    def open(self, prompt):
        return self

    def draft(self, gamma, control):
        return self.propose(gamma)

    def advance(self, tokens):
        pass

    def close(self):
        pass


class TooMany(Misbehaving):
    def propose(self, gamma):
        return TokenProposal((1,) * (gamma + 1))


class OutOfVocabulary(Misbehaving):
    def propose(self, gamma):
        return TokenProposal((28,) * gamma)


class Negative(Misbehaving):
    def propose(self, gamma):
        return TokenProposal((-1,) * gamma)


class NotEvenTokens(Misbehaving):
    def propose(self, gamma):
        return TokenProposal(("the",) * gamma)


class Dead(Misbehaving):
    def propose(self, gamma):
        raise RuntimeError("out of memory")


class DeadLater(Misbehaving):
    def propose(self, gamma):
        return TokenProposal((1,) * gamma)

    def advance(self, tokens):
        raise RuntimeError("lost its cache")


DRAFT_MESSAGES = {
    TooMany: "asked for 3 tokens and proposed 4",
    OutOfVocabulary: "proposed 28, which is no token of the target's 28",
    Negative: "proposed -1",
    NotEvenTokens: "proposed 'the'",
    Dead: "draft 'draft' failed: RuntimeError",
    DeadLater: "draft 'draft' failed: RuntimeError",
}


@pytest.mark.parametrize("kind", DRAFT_MESSAGES)
def test_a_draft_that_misbehaves_is_named(kind):
    with pytest.raises((ContractError, BackendError), match=DRAFT_MESSAGES[kind]):
        run(ScriptedPolicy([3]), {"draft": kind()})


@pytest.mark.parametrize("kind", DRAFT_MESSAGES)
def test_with_fallback_a_draft_that_misbehaves_costs_no_token(kind):
    with capture_logs() as logs:
        result = run(ScriptedPolicy([3]), {"draft": kind()}, on_policy_error="fallback")

    assert alone(30) == result.tokens
    assert [entry["event"] for entry in logs] == ["draft_failed"]


def test_with_fallback_the_other_drafts_go_on():
    drafts = {"dead": Dead(), "alive": ToyDraft(TARGET, agreement=0.9)}
    with capture_logs():
        result = run(ScriptedPolicy([Plan(3, "dead"), Plan(3, "alive")]), drafts, on_policy_error="fallback")

    assert alone(30) == result.tokens
    assert result.totals.accepted > 5


def test_a_draft_that_proposes_nothing_is_no_breach():
    class Silent(Misbehaving):
        def propose(self, gamma):
            return TokenProposal(())

    assert alone(30) == run(ScriptedPolicy([3]), {"draft": Silent()}).tokens


@pytest.mark.parametrize("verdict", [TokenVerdict(9, (1,) * 10), TokenVerdict(1, (1,)), TokenVerdict(-1, ())])
def test_a_target_that_miscounts_is_named(verdict):
    class Miscounting(ToyTarget):
        def open(self, prompt):
            session = super().open(prompt)

            class Session:
                verify = staticmethod(lambda proposal: verdict)
                advance = staticmethod(session.advance)
                close = staticmethod(session.close)

            return Session()

    with pytest.raises(ContractError, match=r"target .*Session.*of 3 tokens proposed"):
        run(ScriptedPolicy([3]), target=Miscounting(seed=3))
