"""Whatever a policy does, the requests are served as before, and it is said once."""

import pytest
import structlog

from paceline.testing import BREACHES, LawlessPolicy, ScriptedPolicy

REACHED = [breach for breach in BREACHES if breach != "raise-in-keep"]


@pytest.mark.parametrize("breach", REACHED)
def test_a_policy_that_breaks_the_contract_is_replaced_by_gamma_0_and_blamed_once(engine, breach):
    one = engine(LawlessPolicy(breach, after=2))
    request = one.add(max_tokens=30)
    with structlog.testing.capture_logs() as logs:
        one.serve()
    assert request.num_output_tokens == 30
    assert one.adapter.failed
    assert one.outputs[-1].num_spec_tokens_to_schedule == 0
    failures = [line for line in logs if line["event"] == "policy_failed"]
    assert len(failures) == 1
    assert "LawlessPolicy" in failures[0]["error"]


def test_the_fallback_may_be_another_gamma(engine):
    one = engine(LawlessPolicy("raise-in-plan"), fallback_gamma=3)
    one.add(max_tokens=30)
    one.serve()
    assert {output.num_spec_tokens_to_schedule for output in one.outputs} == {3}


def test_a_fallback_beyond_what_vllm_drafts_is_its_largest_gamma(engine):
    one = engine(LawlessPolicy("raise-in-plan"), fallback_gamma=30)
    one.add()
    one.step()
    assert one.outputs[0].num_spec_tokens_to_schedule == 4


def test_a_failed_policy_is_never_called_again(engine):
    class Counting(ScriptedPolicy):
        def observe(self, done):
            super().observe(done)
            raise RuntimeError("once")

    policy = Counting([1])
    one = engine(policy)
    one.add(max_tokens=30)
    one.serve()
    assert (len(policy.rounds), len(policy.starts)) == (1, 2)


def test_a_fault_of_the_plugin_itself_does_not_stop_the_server(engine, monkeypatch):
    one = engine(ScriptedPolicy([2]))
    request = one.add(max_tokens=30)
    one.step()
    monkeypatch.setattr(one.adapter, "observe", lambda step: 1 / 0)
    with structlog.testing.capture_logs() as logs:
        one.serve()
    assert request.num_output_tokens == 30
    assert [line["event"] for line in logs] == ["policy_failed", "paceline_fault"]
    assert one.outputs[-1].num_spec_tokens_to_schedule == 0


def test_a_policy_is_only_touched_under_the_lock(engine):
    held = []

    class Watching(ScriptedPolicy):
        def plan(self, start):
            held.append(lock.locked())
            return super().plan(start)

        def observe(self, done):
            held.append(lock.locked())

    one = engine(Watching([2]))
    lock = one.adapter.lock
    one.add()
    one.serve()
    assert held
    assert all(held)
    assert not lock.locked()


def test_without_vllms_table_as_with_data_parallelism_the_policy_only_observes(engine):
    policy = ScriptedPolicy([1])
    with structlog.testing.capture_logs() as logs:
        one = engine(policy, table=None)
    one.add()
    one.serve()
    (warning,) = (line for line in logs if line["event"] == "policy_only_observes")
    assert "add [[1, 8, 4]] to --speculative-config" in warning["action"]
    assert "data parallelism" in warning["action"]
    assert {output.num_spec_tokens_to_schedule for output in one.outputs} == {4}
    assert policy.starts == []
    assert {done.plan.gamma for done in policy.rounds} == {4}
