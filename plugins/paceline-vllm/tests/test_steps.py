"""Looking requests up only where they changed gives what looking them all up in every step gives."""

from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st

from paceline import Plan
from paceline_vllm.steps import PREFILL, ActiveRequests

NAMES = "abcd"
STEP = st.tuples(
    st.sets(st.sampled_from(NAMES)),  # who takes part
    st.sets(st.sampled_from(NAMES)),  # whose drafts are found
    st.sets(st.sampled_from(NAMES), max_size=1),  # who is aborted before
    st.sets(st.sampled_from(NAMES), max_size=1),  # who is preempted before, and reads everything again
    st.integers(1, 5),  # tokens of a prompt that are read at once
)


class Slow:
    """Plans and numbers of every request, kept request by request."""

    def __init__(self):
        self.known = {}

    def step(self, output, requests):
        turns = []
        for name in output.finished_req_ids:
            self.known.pop(name, None)
        for name, count in output.num_scheduled_tokens.items():
            request = requests[name]
            before = request.num_computed_tokens
            drafts = len(output.scheduled_spec_decode_tokens.get(name, ()))
            decodes = before >= request.num_prompt_tokens and count == 1 + drafts
            if decodes or before + count >= request.num_tokens:
                plan, rounds = self.known.get(name, (PREFILL, 0))
                turns.append((name, plan if decodes else PREFILL, rounds))
        return turns

    def planned(self, turns, plan):
        for name, _, rounds in turns:
            self.known[name] = (plan, rounds + 1)


def fresh(name):
    return SimpleNamespace(
        request_id=name, num_computed_tokens=0, num_prompt_tokens=4, num_tokens=4, num_output_placeholders=0
    )


@settings(deadline=None)
@given(st.lists(STEP, min_size=1, max_size=40))
def test_turns_plans_and_numbers_are_those_of_the_slow_way(steps):
    active, slow = ActiveRequests(lambda request: None), Slow()
    requests = {name: fresh(name) for name in NAMES}
    for number, (taking, found, aborted, preempted, chunk) in enumerate(steps):
        for name in aborted:
            requests[name] = fresh(name)
        for name in preempted:
            requests[name].num_computed_tokens = 0
        scheduled, drafts = {}, {}
        for name in sorted(taking):
            request = requests[name]
            waiting = request.num_tokens - request.num_computed_tokens
            if waiting == 1 and request.num_tokens > 4:
                if name in found:
                    drafts[name] = [7, 7]
                scheduled[name] = 1 + len(drafts.get(name, ()))
            else:
                scheduled[name] = min(waiting, chunk)
        output = SimpleNamespace(
            num_scheduled_tokens=scheduled,
            total_num_scheduled_tokens=sum(scheduled.values()),
            scheduled_spec_decode_tokens=drafts,
            finished_req_ids=set(aborted),
            preempted_req_ids=set(preempted),
        )
        expected = slow.step(output, requests)
        step = active.step(output, requests, 0.0)
        emitting = [] if step is None else step.requests
        assert [
            (one.request.request_id, step.plan(index), one.rounds + step.uncounted)
            for index, one in enumerate(emitting)
        ] == expected
        if step is not None:
            assert step.only_decodes == (
                len(emitting) == len(scheduled) and all(plan is not PREFILL for _, plan, _ in expected)
            )
            plan = Plan(number)
            active.set_plan(plan)
            slow.planned(expected, plan)
        names = {name for name, _, _ in expected}
        for name, count in scheduled.items():  # what vLLM does: the drafts were refused
            request = requests[name]
            request.num_computed_tokens += count - len(drafts.get(name, ()))
            if name in names:
                request.num_tokens += 1
        assert len(active) <= len(NAMES)


def test_a_request_that_is_over_is_forgotten_though_it_took_no_part_in_the_last_step():
    active = ActiveRequests(lambda request: None)
    requests = {name: fresh(name) for name in "ab"}

    def step(names, finished=()):
        for name in names:
            requests[name].num_computed_tokens = requests[name].num_tokens - 1
        output = SimpleNamespace(
            num_scheduled_tokens=dict.fromkeys(names, 1),
            total_num_scheduled_tokens=len(names),
            scheduled_spec_decode_tokens={},
            finished_req_ids=set(finished),
            preempted_req_ids=None,
        )
        return active.step(output, requests, 0.0)

    for name in "ab":
        requests[name].num_tokens = 9
    step("ab")
    step("a")
    step("a", finished="b")
    assert len(active) == 1
