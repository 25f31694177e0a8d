"""Runs as replicas run them: the hub forgets, not the policy; what cannot be shared is refused."""

import pytest

from paceline import ConfigError, Shareable
from paceline_ray.runs import replica_run, shareable_names


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
            r"state: learnt\.json would be written by every replica",
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
