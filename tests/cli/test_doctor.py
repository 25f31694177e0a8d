"""The doctor says yes to what it tried or looked at, and to nothing else."""

from typing import ClassVar, Literal

import pytest
from pydantic import Field

from paceline import BackendConfig, Catalogue, Readiness, hookimpl, load_config
from paceline.cli._checks import Trial, check_run, planned_drafts, try_backend
from paceline.core import environment

CATALOGUE = Catalogue.load()


def findings(target, drafts=None, *, trials=None, **rest):
    config = load_config(
        {"target": target, "drafts": drafts or {}, "policy": "auto", **rest}, catalogue=CATALOGUE
    )
    return check_run(config, CATALOGUE, trials or {})


def test_memory_is_reckoned_by_what_the_kernel_and_the_container_leave(monkeypatch, tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 8000 kB\n")
    monkeypatch.setattr(environment, "MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr(environment, "GROUP", tmp_path)
    assert environment.free_memory("cpu") == 8000 * 1024
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("3000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 500\n")
    assert environment.free_memory("cpu") == 2500
    assert environment.free_memory("abacus") is None


@pytest.mark.parametrize(
    ("policy", "used"),
    [
        ("static", {"one"}),
        ({"name": "static", "draft": "two"}, {"two"}),
        ({"name": "static", "gamma": 0}, set()),
        ("auto", {"one", "two", "three"}),
        ("hedge", {"one", "two", "three"}),
        ("linear-select", {"one", "two", "three"}),
        ("metasd", {"one", "two", "three"}),
        ("online", {"one"}),
    ],
)
def test_drafts_that_a_policy_never_plans_are_named_with_the_reason(policy, used):
    drafts = {"one": "toy", "two": "toy", "three": "toy"}
    found = findings("toy", drafts, policy=policy)
    assert drafts.keys() - found.unused.keys() == used
    assert all("the policy" in why for why in found.unused.values())


@pytest.mark.parametrize("name", sorted({"graph", "hf", "toy", "prompt-lookup"}))
def test_every_backend_that_is_installed_generates_four_tokens(name):
    trial = try_backend(CATALOGUE.backends[name].config, CATALOGUE)
    assert trial.problem is None
    assert trial.seconds > 0


class Odd(BackendConfig):
    """A backend of a third party."""

    roles: ClassVar = frozenset({"target"})
    backend: Literal["odd"] = "odd"
    how: str = Field(default="well")

    def build_target(self):
        raise RuntimeError("no such engine")

    def check_target(self, run):
        if self.how == "badly":
            raise RuntimeError("the check is broken")
        return Readiness((f"a server is missing for {run.policy.name}",), memory={"npu:0": 5})


class Tried(Odd):
    @classmethod
    def smallest(cls, folder):
        assert not list(folder.iterdir())
        return cls()


class Plugin:
    @hookimpl
    def register_backends(self):
        return [Odd]


def test_a_backend_of_a_third_party_is_asked_and_tried():
    catalogue = Catalogue.load([Plugin()])
    said = check_run(load_config({"target": "odd", "drafts": {}}, catalogue=catalogue), catalogue, {})
    assert said.problems == ["target: a server is missing for auto"]
    assert said.memory == {"npu:0": {"needed": 5, "there": None}}
    block = {"backend": "odd", "how": "badly"}
    broken = check_run(load_config({"target": block, "drafts": {}}, catalogue=catalogue), catalogue, {})
    assert broken.problems == ["target: its check failed: RuntimeError: the check is broken"]

    assert try_backend(Odd, catalogue) == Trial()
    assert try_backend(Tried, catalogue) == Trial(problem="RuntimeError: no such engine")


def test_a_backend_that_failed_in_its_trial_is_a_problem_of_every_run_on_it():
    (problem,) = findings(
        "toy", trials={"toy": Trial(problem="it is broken"), "hf": Trial(problem="?")}
    ).problems
    assert problem == "target: toy fails on its smallest model: it is broken"


def test_a_policy_that_fails_is_a_problem(monkeypatch):
    monkeypatch.setattr("paceline.policies.static.StaticPolicy.plan", None)
    (problem,) = findings("toy", {"one": "toy"}, policy="static").problems
    assert problem.startswith("policy: static fails: ContractError")


def test_the_trial_of_a_policy_is_the_same_every_time():
    policy = load_config({"policy": "thompson"}).policy
    assert planned_drafts(policy, ("a", "b"), CATALOGUE) == planned_drafts(policy, ("a", "b"), CATALOGUE)
