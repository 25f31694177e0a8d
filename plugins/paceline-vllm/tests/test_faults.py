"""Whatever a policy does, the requests are served as before, and it is said once."""

import pytest
import structlog

from paceline.testing import BREACHES, LawlessPolicy, ScriptedPolicy

REACHED = [breach for breach in BREACHES if breach != "raise-in-keep-drafting"]


@pytest.mark.parametrize("breach", REACHED)
def test_a_policy_that_breaks_the_contract_is_replaced_by_gamma_0_and_blamed_once(engine, breach):
    driver = engine(LawlessPolicy(breach, after=2))
    request = driver.add(max_tokens=30)
    with structlog.testing.capture_logs() as logs:
        driver.serve()
    assert request.num_output_tokens == 30
    assert driver.adapter.failed
    assert driver.outputs[-1].num_spec_tokens_to_schedule == 0
    failures = [line for line in logs if line["event"] == "policy_failed"]
    assert len(failures) == 1
    assert "LawlessPolicy" in failures[0]["error"]


def test_the_fallback_may_be_another_gamma(engine):
    driver = engine(LawlessPolicy("raise-in-plan"), fallback_gamma=3)
    driver.add(max_tokens=30)
    driver.serve()
    assert {output.num_spec_tokens_to_schedule for output in driver.outputs} == {3}


def test_a_fallback_beyond_what_vllm_drafts_is_its_largest_gamma(engine):
    driver = engine(LawlessPolicy("raise-in-plan"), fallback_gamma=30)
    driver.add()
    driver.step()
    assert driver.outputs[0].num_spec_tokens_to_schedule == 4


def test_a_failed_policy_is_never_called_again(engine):
    class Counting(ScriptedPolicy):
        def observe(self, done):
            super().observe(done)
            raise RuntimeError("once")

    policy = Counting([1])
    driver = engine(policy)
    driver.add(max_tokens=30)
    driver.serve()
    assert (len(policy.rounds), len(policy.starts)) == (1, 2)


def test_a_fault_of_the_plugin_itself_does_not_stop_the_server(engine, monkeypatch):
    driver = engine(ScriptedPolicy([2]))
    request = driver.add(max_tokens=30)
    driver.step()
    monkeypatch.setattr(driver.adapter, "observe", lambda step: 1 / 0)
    with structlog.testing.capture_logs() as logs:
        driver.serve()
    assert request.num_output_tokens == 30
    assert [line["event"] for line in logs] == ["policy_failed", "paceline_fault"]
    assert driver.outputs[-1].num_spec_tokens_to_schedule == 0


def test_a_policy_is_only_touched_under_the_lock(engine):
    held = []

    class Watching(ScriptedPolicy):
        def plan(self, start):
            held.append(lock.locked())
            return super().plan(start)

        def observe(self, done):
            held.append(lock.locked())

    driver = engine(Watching([2]))
    lock = driver.adapter.lock
    driver.add()
    driver.serve()
    assert held
    assert all(held)
    assert not lock.locked()


def test_without_vllms_table_as_with_data_parallelism_the_policy_only_observes(engine):
    policy = ScriptedPolicy([1])
    with structlog.testing.capture_logs() as logs:
        driver = engine(policy, table=None)
    driver.add()
    driver.serve()
    (warning,) = (line for line in logs if line["event"] == "policy_only_observes")
    assert "add [[1, 8, 4]] to --speculative-config" in warning["action"]
    assert "data parallelism" in warning["action"]
    assert {output.num_spec_tokens_to_schedule for output in driver.outputs} == {4}
    assert policy.starts == []
    assert {done.plan.gamma for done in policy.rounds} == {4}
