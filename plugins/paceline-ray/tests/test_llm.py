"""The arguments for vLLM under Ray Serve LLM."""

import importlib.util

import pytest

from paceline import BackendError, CapabilityError, ConfigError
from paceline_ray.llm import engine_arguments, llm_config

DRAFTING = {"method": "draft_model", "model": "small", "num_speculative_tokens": 4}


def test_scheduler_policy_and_sharing_are_set():
    found = engine_arguments(DRAFTING, policy={"name": "survival", "max_gamma": 4}, max_model_len=256)
    assert found["scheduler_cls"] == "paceline_vllm.PolicyScheduler"
    assert found["max_model_len"] == 256
    assert found["speculative_config"]["num_speculative_tokens_per_batch_size"][0][2] == 4
    block = found["additional_config"]["paceline"]
    assert block["sync"] == "paceline_ray.replica:join"
    assert (block["policy"]["name"], block["policy"]["discount"]) == ("survival", 1.0)


def test_a_table_that_is_given_stays():
    table = [[1, 4, 4], [5, 64, 1]]
    found = engine_arguments({**DRAFTING, "num_speculative_tokens_per_batch_size": table})
    assert found["speculative_config"]["num_speculative_tokens_per_batch_size"] == table


def test_without_sharing_any_policy_goes():
    block = engine_arguments(DRAFTING, policy={"name": "static", "gamma": 2}, sharing=False)[
        "additional_config"
    ]
    assert "sync" not in block["paceline"]


@pytest.mark.parametrize(
    ("drafting", "options", "message"),
    [
        ({"method": "ngram"}, {}, r"num_speculative_tokens .* found None"),
        (DRAFTING, {"policy": "static"}, "'static' cannot share"),
        (DRAFTING, {"scheduler_cls": "mine"}, "scheduler_cls: set by this helper"),
    ],
)
def test_what_does_not_go_together_is_refused(drafting, options, message):
    with pytest.raises(ConfigError, match=message):
        engine_arguments(drafting, **options)


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed")
def test_without_ray_a_message_names_the_command():
    with pytest.raises(
        BackendError, match=r"pip install 'ray\[llm\]'; .*pip install \. \./plugins/paceline-vllm"
    ):
        llm_config("tiny", "somewhere", DRAFTING)


def test_a_policy_that_vllm_cannot_serve_is_refused_before_anything_starts():
    pytest.importorskip("paceline_vllm")
    with pytest.raises(CapabilityError, match="does not fit this engine"):
        engine_arguments(DRAFTING, policy="svip", sharing=False)
