"""The classes around vLLM's real schedulers, driven by outputs that no model made."""

import json
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module", params=["PolicyScheduler", "PolicyAsyncScheduler"])
def driven(request, tmp_path_factory, process):
    folder = tmp_path_factory.mktemp("contract")
    program = str(Path(__file__).with_name("contract.py"))
    process([sys.executable, "-I", program, request.param, "answer.json"], folder, limit_s=180)
    return request.param, json.loads((folder / "answer.json").read_text(encoding="utf-8"))


def test_every_step_drafts_what_the_script_says(driven):
    name, found = driven
    assert found["asked"][:10] == [4, 1, 0, 2, 3, 4, 1, 0, 2, 3]
    assert found["delay"] == (1 if name == "PolicyScheduler" else 2)


def test_the_next_step_verifies_what_was_asked_for(driven):
    _, found = driven
    assert found["verified"][1:10] == found["asked"][:9]


def test_rounds_are_observed_under_the_plan_that_was_in_force(driven):
    _, found = driven
    assert found["rounds"]
    assert all(gamma == drafted for gamma, drafted, _, _ in found["rounds"])
    assert [gamma for gamma, *_ in found["rounds"]][:8] == found["asked"][:8]
    assert all(emitted == accepted + 1 for _, _, accepted, emitted in found["rounds"][:-1])


def test_what_a_cut_leaves_is_ended_by_the_length(driven):
    _, found = driven
    assert found["ended"] == "length"
    assert found["tokens"] == found["wanted"]
    assert found["left"] == 0


def test_without_a_table_the_policy_observes_and_without_a_draft_the_engine_is_refused(driven):
    _, found = driven
    assert found["without_table"] == 4
    assert "--speculative-config" in found["refused"]["draft"]
