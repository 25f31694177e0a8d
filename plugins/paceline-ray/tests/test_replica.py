"""Replicas: engines whose policies share, ours and foreign ones."""

import sys
import threading
import types

import pytest
from structlog.testing import capture_logs

from paceline import ConfigError, Shareable, load_config
from paceline_ray.hub import Hub
from paceline_ray.page import gammas
from paceline_ray.replica import Replica, RoundCounts, join, replica_run, shareable_names


def decode(replica, prompt, tokens=40):
    return list(replica.decoder.rounds(prompt, max_new_tokens=tokens))


@pytest.fixture
def config(run, tmp_path):
    return replica_run(
        {**run, "policy": {"name": "survival", "max_gamma": 8}, "trace": str(tmp_path / "t.jsonl")}
    )


def test_two_replicas_know_together_what_each_decoded(config, tmp_path):
    hub = Hub()
    both = [Replica(config, name=name, connect=lambda: hub.exchange, period_s=5.0) for name in "ab"]
    rounds = decode(both[0], "the rain") + decode(both[1], "in spain", 25)
    for one in both:
        one.close()
    (known,) = hub.status()["subjects"]
    accepted = sum(value for name, value in known["pool"].items() if name.endswith("/accepted"))
    refused = sum(value for name, value in known["pool"].items() if name.endswith("/refused"))
    scored = [scores for done in rounds for scores in done.scores.values()]  # of drafts that did not draft
    assert known["counts"]["accepted"] == sum(done.accepted for done in rounds)
    assert accepted == known["counts"]["accepted"] + sum((*scores, 0.0).index(0.0) for scores in scored)
    assert refused == sum(done.rejected for done in rounds) + sum(0.0 in scores for scores in scored)
    assert known["counts"]["rounds"] == len(rounds)
    assert [one["replica"] for one in known["replicas"]] == ["a", "b"]
    assert {path.name for path in tmp_path.iterdir()} == {"t-a.jsonl", "t-b.jsonl"}


def test_a_newcomer_plans_by_what_others_have_learnt(config):
    hub = Hub()
    old = Replica(config, name="old", connect=lambda: hub.exchange)
    decode(old, "the rain")
    old.close()
    new = Replica(config, name="new", connect=lambda: hub.exchange)
    new.sync.exchange()
    assert new.decoder.policy.export() == old.decoder.policy.export() != {}
    new.close()


def test_sharing_changes_no_text(config, plain):
    hub = Hub()
    replica = Replica(config, name="a", connect=lambda: hub.exchange, period_s=0.5)
    tokens = [token for done in decode(replica, "the rain") for token in done.tokens]
    replica.close()
    assert tuple(tokens) == plain.generate("the rain").tokens


def test_a_replica_may_keep_to_itself(config):
    replica = Replica(config, name="a")
    assert replica.sync is None
    assert decode(replica, "the rain")
    replica.close()


INFO = {"target": "t", "hardware": "this", "engine": "vllm", "engine_version": "1", "policy": {"name": "c"}}


@pytest.fixture
def hub(monkeypatch):
    """A hub behind `connect`, in the place of Ray."""
    found = Hub()
    module = types.ModuleType("paceline_ray.actor")
    module.connect = lambda: found.exchange
    monkeypatch.setitem(sys.modules, "paceline_ray.actor", module)
    return found


def test_a_foreign_engine_joins_by_a_call_and_leaves_by_another(hub, counting):
    policy = counting()
    joined = join(policy, threading.Lock(), {**INFO, "counts": lambda: {"gamma/2": 3.0}})
    policy.learn("x", 2.0)
    joined.close()
    (known,) = hub.status()["subjects"]
    assert known["pool"] == {"x": 2.0}
    assert known["counts"] == {"gamma/2": 3.0}
    assert known["about"] == {"policy": "counting", "target": "t", "engine": "vllm"}


def test_times_are_kept_apart_by_hardware_and_version_and_acceptance_is_not(hub, counting):
    for timed in (False, True):
        for change in ({}, {"hardware": "that"}, {"engine_version": "2"}, {"tensor_parallel_size": 2}):
            policy = counting()
            policy.timed = timed
            join(policy, threading.Lock(), {**INFO, **change}).close()
    lives = sorted(len(one["replicas"]) for one in hub.status()["subjects"])
    assert lives == [1, 1, 1, 1, 4]


def test_a_foreign_policy_that_cannot_share_is_left_alone_and_the_log_says_so(hub):
    with capture_logs() as logs:
        assert join(object(), threading.Lock(), INFO) is None
    assert [line["event"] for line in logs] == ["not_shared"]


@pytest.mark.parametrize("policy", ["auto", "survival", "thompson", "ucb"])
def test_policies_that_can_share_do_not_forget_by_themselves(run, policy):
    found = replica_run({**run, "policy": policy}).policy
    assert isinstance(found.build(0), Shareable)
    assert {getattr(found, name, 1.0) for name in ("discount", "idle_discount")} == {1.0}


def test_other_options_stay_as_they_were_written(run):
    found = replica_run({**run, "policy": {"name": "survival", "max_gamma": 5, "discount": 1.0}}).policy
    assert found.max_gamma == 5


def test_without_sharing_a_policy_stays_as_it_is(run):
    found = replica_run({**run, "policy": "survival"}, sharing=False).policy
    assert found.discount < 1


def test_a_policy_that_fails_costs_no_request_unless_the_file_says_so(run):
    assert replica_run({**run, "policy": "auto"}).on_policy_error == "fallback"
    told = {**run, "policy": "auto", "on_policy_error": "raise"}
    assert replica_run(told).on_policy_error == "raise"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"policy": {"name": "survival", "discount": 0.9}}, r"policy\.discount: 0\.9 .* the hub forgets"),
        ({"policy": {"name": "thompson", "discount": 0.9}}, r"policy\.discount: 0\.9"),
        ({"policy": {"name": "static", "gamma": 3}}, r"'static' cannot share .*: auto, .*survival"),
        ({"policy": "auto", "scope": "request"}, "scope: request makes a policy for each request"),
        (
            {"policy": "auto", "state": "learnt.db"},
            r"state: learnt\.db would be written by every replica",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_shared_is_refused_with_the_way_out(run, change, message):
    with pytest.raises(ConfigError, match=message):
        replica_run({**run, **change})


def test_the_default_run_can_be_shared():
    assert replica_run(None).policy.name == "auto"
    assert "auto" in shareable_names()


def test_a_replica_tells_the_sums_of_its_rounds(run):
    counts = RoundCounts()
    decoder = load_config(run).build(observer=counts)
    rounds = list(decoder.rounds("the rain"))
    sums = counts.sums()
    assert sums["requests"] == 1
    assert sums["rounds"] == len(rounds) == sum(gammas(sums).values())
    assert sums["drafted"] == sum(done.drafted for done in rounds)
    assert sums["accepted"] == sum(done.accepted for done in rounds)
    assert sums["emitted"] == sum(done.emitted for done in rounds) == 40
