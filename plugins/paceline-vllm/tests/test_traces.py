"""Rounds are written as paceline's own engine writes them, so that whatever reads traces reads these."""

import pytest

from paceline import TraceError, read_trace
from paceline.testing import ScriptedPolicy


def test_a_trace_holds_every_request_with_all_of_its_rounds_from_the_first_token_on(engine, tmp_path):
    path = tmp_path / "rounds.jsonl"
    driver = engine(ScriptedPolicy([2, 0]), trace=str(path), rounds_per_step=1)
    for name, tokens in (("a", 9), ("b", 14)):
        driver.add(name, prompt=range(4), max_tokens=tokens)
    driver.serve()
    driver.scheduler.shutdown()
    trace = read_trace(path)
    assert [(request.ended, request.complete) for request in trace.requests] == [("length", True)] * 2
    for request, tokens in zip(trace.requests, (9, 14), strict=True):
        assert request.info["prompt_tokens"] == 4
        assert request.info["max_new_tokens"] == tokens
        assert [done.index for done in request.rounds] == list(range(len(request.rounds)))
        assert [token for done in request.rounds for token in done.tokens] == [100 + n for n in range(tokens)]
        assert request.rounds[0].plan.reason == "prefill"
        assert all(done.position + done.emitted <= tokens for done in request.rounds)


def test_a_trace_says_that_times_are_of_whole_steps_and_what_ran(engine, tmp_path):
    path = tmp_path / "rounds.jsonl"
    driver = engine("static", trace=str(path))
    driver.add()
    driver.serve()
    run = read_trace(path).run
    assert (run["engine"], run["latency"], run["action_delay"]) == ("vllm", "fused", 1)
    assert (run["policy"]["name"], run["target"]) == ("static", "tiny")
    assert {done.draft_s for request in read_trace(path).requests for done in request.rounds} == {0.0}


def test_a_request_that_was_aborted_ends_without_a_reason(engine, tmp_path):
    path = tmp_path / "rounds.jsonl"
    driver = engine("static", trace=str(path))
    driver.add("goes")
    driver.add("stays", max_tokens=60)
    driver.step()
    driver.scheduler.forget("goes")
    driver.serve(4)
    (goes, stays) = read_trace(path).requests
    assert (goes.ended, goes.complete) == (None, True)
    assert not stays.complete


def test_shutting_down_amid_requests_ends_them_in_the_trace(engine, tmp_path):
    path = tmp_path / "rounds.jsonl"
    driver = engine("static", trace=str(path))
    for name in "ab":
        driver.add(name, max_tokens=60)
    driver.step()
    driver.step()
    driver.scheduler.shutdown()
    assert driver.scheduler.closed
    requests = read_trace(path).requests
    assert [(request.ended, request.complete, len(request.rounds)) for request in requests] == [
        (None, True, 2)
    ] * 2


def test_what_is_traced_does_not_change_what_the_policy_is_shown(engine, tmp_path):
    shown = []
    for trace in (None, str(tmp_path / "rounds.jsonl")):
        policy = ScriptedPolicy([1, 3])
        driver = engine(policy, rounds_per_step=2, trace=trace)
        for name in "abc":
            driver.add(name)
        driver.serve()
        shown.append(policy.rounds)
    assert shown[0] == shown[1]


def test_shutting_down_closes_the_trace_and_the_engine_below(engine, tmp_path):
    driver = engine("static", trace=str(tmp_path / "rounds.jsonl"))
    driver.add()
    driver.serve()
    driver.scheduler.shutdown()
    assert driver.scheduler.closed
    with pytest.raises(TraceError, match="closed"):
        driver.scheduler._paceline_setup.trace.write({})
