import json
from pathlib import Path
from typing import Any

import pytest

from paceline import RunConfig, load_config
from paceline.core.errors import BackendError


def run(**parts: Any) -> RunConfig:
    return load_config({"target": "toy", "drafts": {"ahead": "toy"}, "policy": "static"} | parts)


def test_a_run_of_the_toy_pair_builds_and_generates() -> None:
    done = run().build().generate("a b", max_new_tokens=12)
    assert len(done.tokens) == 12


def test_the_run_sets_how_many_tokens_a_text_may_have() -> None:
    assert len(run(generation={"max_new_tokens": 5}).build().generate("a b").tokens) == 5


def test_a_session_keeps_its_policy_from_request_to_request() -> None:
    decoder = run(scope="session").build()
    before = decoder.policy
    decoder.generate("a", max_new_tokens=4)
    assert decoder.policy is before


def test_a_request_gets_a_policy_of_its_own() -> None:
    decoder = run(scope="request").build()
    decoder.generate("a", max_new_tokens=4)
    first = decoder.policy
    decoder.generate("a", max_new_tokens=4)
    assert decoder.policy is not first


def test_a_service_goes_on_without_what_fails_and_keeps_caches_unless_the_run_says_otherwise() -> None:
    served = run().for_service()
    assert (served.on_policy_error, served.generation.prefix_caches) == ("fallback", 4)
    explicit = run(on_policy_error="raise", generation={"prefix_caches": 0, "max_new_tokens": 5})
    assert explicit.for_service() == explicit


def test_a_trace_begins_with_the_run_and_the_run_can_be_loaded_again(tmp_path: Path) -> None:
    file = tmp_path / "runs" / "today.jsonl"
    config = run(trace=str(file))
    with config.build() as decoder:
        decoder.generate("a", max_new_tokens=4)
    header = json.loads(file.read_text().splitlines()[0])
    assert load_config(header["run"]["config"]) == config


def test_a_draft_that_does_not_fit_its_target_is_refused_by_the_backend() -> None:
    class Other:
        vocabulary = 3

    with pytest.raises(BackendError, match="toy draft knows only toy targets"):
        run().drafts["ahead"].build_draft(Other())  # type: ignore[arg-type]
