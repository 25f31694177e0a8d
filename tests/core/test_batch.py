"""Many requests in one pass: who joins, who leaves, what fails, and what a policy is asked."""

import pytest

from paceline.backends.toy import ToyDraft, ToyTarget
from paceline.core.batch import BatchDecoder
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.errors import (
    BackendError,
    ClosedError,
    ContractError,
    QueueFullError,
    TargetError,
    TraceError,
)
from paceline.core.records import Plan
from paceline.core.testing.doubles import LawlessPolicy, ScriptedPolicy
from paceline.core.trace import RequestRecorder, TraceWriter


class SharingTarget(ToyTarget):
    """A toy that verifies for all at once; `fails` are prompts whose verification raises."""

    shares_passes = True
    fails = ()

    def verify_batch(self, sessions, proposals):
        self.sizes = [*getattr(self, "sizes", ()), len(sessions)]
        return [self._answer(*row) for row in zip(sessions, proposals, strict=True)]

    def _answer(self, session, proposal):
        if any(session.context[: len(prompt)] == list(prompt) for prompt in self.fails):
            return RuntimeError("no such luck")
        return session.verify(proposal)


class SharingDraft(ToyDraft):
    """A toy that drafts for all at once."""

    shares_passes = True

    def draft_batch(self, sessions, gammas, controls):
        return [row[0].draft(*row[1:]) for row in zip(sessions, gammas, controls, strict=True)]


class JointPolicy(ScriptedPolicy):
    """Plans for all at once: the first request gets no draft token, the next one, and so on."""

    def plan_batch(self, starts):
        self.starts.extend(starts)
        return [Plan(min(number, start.budget)) for number, start in enumerate(starts)]


def batch_of(policy=None, *, target=None, drafts=None, rows=4, waiting=99, **options):
    target = SharingTarget(seed=1) if target is None else target
    drafts = {"small": SharingDraft(ToyTarget(seed=1), agreement=0.7)} if drafts is None else drafts
    decoder = SpeculativeDecoder(target, drafts, policy or ScriptedPolicy([2]), max_new_tokens=12, **options)
    return BatchDecoder(decoder, max_rows=rows, max_waiting=waiting)


PROMPTS = [(1, 2), (3, 4, 5), (6,), (7, 8), (9, 10), (11,)]


def alone(prompt, **options):
    decoder = SpeculativeDecoder(ToyTarget(seed=1), {}, ScriptedPolicy([0]), max_new_tokens=12)
    return decoder.generate(prompt, **options).tokens


@pytest.mark.parametrize("policy", [ScriptedPolicy([2, 0, 5]), JointPolicy([1]), lambda: ScriptedPolicy([3])])
def test_each_request_gets_its_own_text_whoever_plans(policy):
    written = batch_of(policy).generate(PROMPTS)
    assert [generation.tokens for generation in written] == [alone(prompt) for prompt in PROMPTS]
    assert all(generation.totals.emitted == 12 for generation in written)


def test_passes_are_shared_by_as_many_as_there_are_rows():
    target = SharingTarget(seed=1)
    batch_of(JointPolicy([1]), target=target, rows=3).generate(PROMPTS)
    assert max(target.sizes) == 3


def test_a_joint_policy_plans_for_all_and_sees_every_round():
    policy = JointPolicy([1])
    batch = batch_of(policy)
    for prompt in PROMPTS[:3]:
        batch.submit(prompt)
    rounds = [done for _, done in batch.step()]
    assert [done.plan.gamma for done in rounds] == [0, 1, 2]
    assert [start.batch for start in policy.starts] == [3, 3, 3]
    assert policy.rounds == rounds


def test_a_policy_that_plans_for_one_is_asked_once_and_sees_every_round():
    policy = ScriptedPolicy([5])
    batch = batch_of(policy)
    for prompt, most in zip(PROMPTS[:3], (3, 9, 12), strict=True):
        batch.submit(prompt, max_new_tokens=most)
    rounds = [done for _, done in batch.step()]
    assert [done.plan.gamma for done in rounds] == [2, 5, 5]
    assert len(policy.starts) == 1
    assert policy.rounds == rounds


def test_requests_that_share_a_pass_draft_chains_and_one_alone_may_draft_a_tree():
    policy = ScriptedPolicy([Plan(2, nodes=5, width=2)])
    batch = batch_of(policy)
    for prompt, most in zip(PROMPTS[:2], (3, 12), strict=True):
        batch.submit(prompt, max_new_tokens=most)
    while any(batch.step()):
        pass
    assert [bool(start.capabilities.nodes) for start in policy.starts] == [
        start.batch == 1 for start in policy.starts
    ]
    assert {done.tree is not None for done in policy.rounds if done.plan.gamma == 2} == {False, True}


def test_policies_of_their_own_plan_for_one_request_each():
    policies = []

    def make():
        policies.append(ScriptedPolicy([len(policies)]))
        return policies[-1]

    batch = batch_of(make)
    policies.clear()
    for prompt in PROMPTS[:3]:
        batch.submit(prompt)
    assert [done.plan.gamma for _, done in batch.step()] == [0, 1, 2]


class LastRests(JointPolicy):
    """Plans as the joint policy does, but the first request gets the most, and the last none."""

    def plan_batch(self, starts):
        return super().plan_batch(starts[::-1])[::-1]


@pytest.mark.parametrize("policy", [JointPolicy, LastRests])
def test_seconds_of_shared_passes_add_up_to_what_they_took(policy):
    class Clock:
        seconds = 0.0

        def now(self):
            self.seconds += 1.0
            return self.seconds

        def spend(self, work):
            pass

    clock = Clock()
    batch = batch_of(policy([1]), clock=clock)
    for prompt in PROMPTS[:4]:
        batch.submit(prompt)
    batch._join()
    began = clock.seconds
    rounds = [done for _, done in batch.step()]
    assert 0 < sum(done.total_s for done in rounds) <= clock.seconds - began
    assert all(0 <= done.draft_s + done.verify_s <= done.total_s for done in rounds)
    # A look at the clock takes a second: a request that drafts nothing has no part of what the others draft.
    assert [done.draft_s <= 3.0 for done in rounds if not done.plan.gamma] == [True]


def test_a_request_that_fails_costs_the_others_nothing():
    target = SharingTarget(seed=1)
    target.fails = ((3, 4, 5),)
    batch = batch_of(JointPolicy([1]), target=target)
    requests = [batch.submit(prompt) for prompt in PROMPTS[:3]]
    delivered = [request for request, _ in batch.rounds()]
    assert isinstance(requests[1].error, TargetError)
    assert "no such luck" in str(requests[1].error)
    assert requests[1] not in delivered
    for request, prompt in zip(requests[::2], PROMPTS[:3:2], strict=True):
        assert tuple(request.tokens) == alone(prompt)
        assert batch.generation(request).ended == "length"


@pytest.mark.parametrize("kind", ["round", "end"])
def test_a_trace_that_cannot_be_written_ends_the_request_it_is_about_and_no_other(
    kind, monkeypatch, tmp_path
):
    written = RequestRecorder._write

    def write(recorder, line):
        if (line["kind"], recorder.number) == (kind, 1):
            raise OSError("no space left")
        written(recorder, line)

    monkeypatch.setattr(RequestRecorder, "_write", write)
    batch = batch_of(JointPolicy([1]), trace=TraceWriter(tmp_path / "trace.jsonl"))
    requests = [batch.submit(prompt) for prompt in PROMPTS[:3]]
    for _ in batch.rounds():
        pass
    assert isinstance(requests[1].error, TraceError)
    assert requests[1].done
    for request, prompt in zip(requests[::2], PROMPTS[:3:2], strict=True):
        assert request.error is None
        assert tuple(request.tokens) == alone(prompt)


def test_what_goes_wrong_as_a_request_is_closed_costs_the_others_nothing(monkeypatch):
    batch = batch_of(JointPolicy([1]))
    requests = [batch.submit(prompt, max_new_tokens=4 + 2 * row) for row, prompt in enumerate(PROMPTS[:2])]
    batch.step()
    requests[0]._stack.callback(lambda: 1 / 0)
    for _ in batch.rounds():
        pass
    assert isinstance(requests[0].error, ZeroDivisionError)
    assert tuple(requests[1].tokens) == alone(PROMPTS[1], max_new_tokens=6)


def test_a_request_that_cannot_begin_costs_the_others_nothing():
    batch = batch_of(JointPolicy([1]))
    wrong, right = batch.submit((1, 2), max_new_tokens=0), batch.submit((3,))
    assert all(request is right for request, _ in batch.rounds())
    assert isinstance(wrong.error, BackendError)
    assert tuple(right.tokens) == alone((3,))


@pytest.mark.parametrize("answers", [lambda rows: [], lambda rows: 1 / 0])
def test_answers_that_are_none_are_asked_for_one_by_one(answers):
    target = SharingTarget(seed=1)
    target.verify_batch = lambda sessions, proposals: answers(sessions)
    draft = SharingDraft(ToyTarget(seed=1), agreement=0.7)
    draft.draft_batch = lambda sessions, gammas, controls: answers(sessions)
    written = batch_of(JointPolicy([1]), target=target, drafts={"small": draft}).generate(PROMPTS)
    assert [generation.tokens for generation in written] == [alone(prompt) for prompt in PROMPTS]


def test_plans_that_are_not_one_for_each_end_the_requests_or_their_drafting():
    class Short(JointPolicy):
        def plan_batch(self, starts):
            return [Plan(0)]

    batch = batch_of(Short([1]))
    requests = [batch.submit(prompt) for prompt in PROMPTS[:2]]
    assert batch.step() == []
    assert all(isinstance(request.error, ContractError) for request in requests)
    assert "plan_batch() of 2 requests gave 1 plans" in str(requests[0].error)

    written = batch_of(Short([1]), on_policy_error="fallback").generate(PROMPTS)
    assert [generation.tokens for generation in written] == [alone(prompt) for prompt in PROMPTS]


@pytest.mark.parametrize("breach", ["over-budget", "no-plan", "raise-in-plan", "raise-in-observe"])
def test_a_policy_that_breaks_its_contract_costs_no_token_under_fallback(breach):
    policy = LawlessPolicy(breach)
    written = batch_of(policy, on_policy_error="fallback").generate(PROMPTS)
    assert [generation.tokens for generation in written] == [alone(prompt) for prompt in PROMPTS]
    assert written[0].failures


def test_too_many_that_wait_are_refused():
    batch = batch_of(JointPolicy([1]), rows=1, waiting=2)
    batch.submit((1,))
    batch.submit((2,))
    with pytest.raises(QueueFullError, match="2 requests wait already"):
        batch.submit((3,))
    batch.step()
    batch.submit((3,))


def test_cancelled_requests_are_let_go_whether_they_wait_or_run():
    batch = batch_of(JointPolicy([1]), rows=2)
    requests = [batch.submit(prompt) for prompt in PROMPTS[:4]]
    batch.step()
    before = list(requests[0].tokens)
    requests[0].cancel()
    requests[2].cancel()
    rest = {id(request) for request, _ in batch.rounds()}
    assert rest == {id(requests[1]), id(requests[3])}
    assert requests[0].tokens == before
    assert all(request.done and request.error is None for request in requests)
    assert [tuple(requests[number].tokens) for number in (1, 3)] == [alone(PROMPTS[1]), alone(PROMPTS[3])]


def test_requests_may_be_submitted_while_rounds_are_taken():
    batch, prompts = batch_of(JointPolicy([1]), rows=2), list(PROMPTS)
    requests = [batch.submit(prompts.pop(0))]
    for _ in batch.rounds():
        requests += [batch.submit(prompts.pop(0))] if prompts else []
    assert [tuple(request.tokens) for request in requests] == [alone(prompt) for prompt in PROMPTS]


def test_closing_ends_what_is_under_way():
    batch = batch_of(JointPolicy([1]), rows=1)
    requests = [batch.submit(prompt) for prompt in PROMPTS[:2]]
    batch.step()
    batch.close()
    assert all(isinstance(request.error, ClosedError) for request in requests)
    assert requests[0].error.delivered == tuple(requests[0].tokens) != ()
    with pytest.raises(ClosedError):
        batch.submit((1,))


def test_a_target_that_shares_no_passes_is_asked_in_turn_and_says_so(capsys):
    policy = ScriptedPolicy([2])
    batch = batch_of(policy, target=ToyTarget(seed=1))
    written = batch.generate(PROMPTS)
    assert [generation.tokens for generation in written] == [alone(prompt) for prompt in PROMPTS]
    # Each round is planned and observed by itself, as policies for one request expect.
    assert len(policy.starts) == len(policy.rounds)
    assert all(start.batch == 1 for start in policy.starts)
    logged = capsys.readouterr().out
    assert logged.count("passes_not_shared") == 1
    assert "it reads one text at a time" in logged


def test_a_request_that_goes_on_amounts_to_nothing_yet():
    batch = batch_of(ScriptedPolicy([2]))
    request = batch.submit(PROMPTS[0])
    with pytest.raises(BackendError, match="this request's text has not ended"):
        batch.generation(request)
    for _ in batch.rounds():
        pass
    assert batch.generation(request).tokens == alone(PROMPTS[0])


def test_nothing_below_one_row_or_one_that_waits():
    for wrong in ({"rows": 0}, {"waiting": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            batch_of(**wrong)


def test_an_interrupt_ends_all_that_share_the_pass():
    target = SharingTarget(seed=1)
    batch = batch_of(JointPolicy([1]), target=target)
    requests = [batch.submit(prompt) for prompt in PROMPTS[:2]]
    batch.step()
    answer, target.verify_batch = (
        target.verify_batch,
        lambda sessions, proposals: (_ for _ in ()).throw(KeyboardInterrupt),
    )
    with pytest.raises(KeyboardInterrupt):
        batch.step()
    assert all(request.done and isinstance(request.error, KeyboardInterrupt) for request in requests)
    assert not batch.busy
    target.verify_batch = answer
    assert batch.generate(PROMPTS[:1])[0].tokens == alone(PROMPTS[0])


def test_an_observer_that_fails_costs_no_text():
    class Observer:
        def on_start(self, request):
            pass

        def on_round(self, request, done):
            raise OSError("no space left")

        def on_end(self, request, error):
            pass

    written = batch_of(JointPolicy([1]), observer=Observer()).generate(PROMPTS)
    assert [generation.tokens for generation in written] == [alone(prompt) for prompt in PROMPTS]
