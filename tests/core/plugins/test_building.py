"""Errors when a plugin makes what it describes."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Literal

import pytest
from pydantic import Field

import paceline
from paceline import PolicyConfig, json_schema
from paceline.core.errors import ContractError, PacelineError, PluginError
from paceline.core.guards.policy import MANDATORY
from paceline.core.plugins.catalogue import (
    Catalogue,
    build_draft,
    build_policy,
    build_target,
    failing_policies,
)
from paceline.core.records import Plan

TOY = {"target": {"backend": "toy", "seed": 3}, "drafts": {"small": {"backend": "toy"}}}


def raising(error: BaseException) -> Callable[..., Any]:
    def build(*_: object, **__: object) -> Any:
        raise type(error)(*error.args)  # a new one: an error keeps alive where it was raised

    return build


class Least:
    """As little as a policy can be."""

    def plan(self, start: Any) -> Plan:
        return Plan(max(start.gammas(2)))

    def observe(self, done: Any) -> None:
        pass


FAULTS = [RuntimeError("boom"), SystemExit(0), KeyError("option"), None]


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_a_factory_that_fails_names_the_plugin(make: SimpleNamespace, fault: BaseException | None) -> None:
    build = raising(fault) if fault is not None else lambda *_, **__: None
    policy = make.policy("coin", build=build)()
    with pytest.raises(PluginError, match=r"policy 'coin' of CoinConfig \(.*\): build\(\) r"):
        build_policy(policy)
    backend = make.backend("tape", {"target", "draft"})
    backend.build_target = backend.build_draft = build
    with pytest.raises(PluginError, match=r"backend 'tape' of TapeConfig \(.*\): build_target\(\) r"):
        build_target(backend())
    with pytest.raises(PluginError, match=r"backend 'tape' of TapeConfig \(.*\): build_draft\(\) r"):
        build_draft(backend(), SimpleNamespace())


@pytest.mark.parametrize("scope", ["request", "session", "process"])
@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_a_run_whose_policy_cannot_be_built_names_it_or_decodes_plainly(
    make: SimpleNamespace, fault: BaseException | None, scope: str
) -> None:
    build = raising(fault) if fault is not None else lambda *_, **__: None
    run = TOY | {"policy": make.policy("coin", build=build)(), "scope": scope}
    with pytest.raises(PluginError, match=r"CoinConfig"):
        paceline.load(run).generate("the rain", max_new_tokens=9)
    done = paceline.load(run, on_policy_error="fallback").generate("the rain", max_new_tokens=9)
    plain = paceline.load(TOY | {"policy": {"name": "static", "gamma": 0}})
    assert done.tokens == plain.generate("the rain", max_new_tokens=9).tokens
    assert done.totals.drafted == 0


@pytest.mark.parametrize("scope", ["request", "session", "process"])
def test_the_least_policy_runs_and_is_kept_nowhere(make: SimpleNamespace, tmp_path: Any, scope: str) -> None:
    policy = make.policy("least", build=lambda self, seed=0: Least())()
    state = tmp_path / "state.db"
    run = TOY | {"policy": policy, "scope": scope, "state": str(state)}
    with paceline.load(run) as decoder:
        assert decoder.generate("the rain", max_new_tokens=30).totals.drafted > 0
    assert not state.exists()


@pytest.mark.parametrize("outer", ["gate", "restart-cost", "hedge", "linear-select", "metasd"])
def test_policies_that_hold_others_hold_the_least(make: SimpleNamespace, tmp_path: Any, outer: str) -> None:
    least = make.policy("least", build=lambda self, seed=0: Least())()
    held = "policy" if outer in {"gate", "restart-cost"} else "length"
    run = TOY | {"policy": {"name": outer, held: least}, "state": str(tmp_path / "state.db")}
    for _ in range(2):
        with paceline.load(run) as decoder:
            assert decoder.generate("the rain", max_new_tokens=60).totals.drafted > 0
    arms = TOY | {"policy": {"name": "tapout", "arms": [least, least]}}
    assert paceline.load(arms).generate("the rain", max_new_tokens=30).totals.drafted > 0


def test_check_policy_takes_the_least() -> None:
    from paceline.testing import check_policy, play

    check_policy(Least, examples=3)
    assert sum(done.accepted for done in play(Least(), [True] * 20)) > 0


@pytest.mark.parametrize("missing", MANDATORY)
def test_policies_that_lack_a_member_are_told_before_a_run(make: SimpleNamespace, missing: str) -> None:
    lame = type("Lame", (), {name: getattr(Least, name) for name in MANDATORY if name != missing})
    wrong = make.policy("wrong", build=lambda self, seed=0: lame())
    classes = [
        make.policy("fine", build=lambda self, seed=0: Least()),
        make.policy("broken", build=raising(SystemExit(0))),
        wrong,
    ]
    catalogue = Catalogue.load([make.plugin("some", register_policies=lambda: classes)], installed=False)
    assert catalogue.broken == ()
    broken, found = failing_policies(catalogue)
    assert "SystemExit" in broken.error
    assert f"policy Lame ({__name__}): it has no {missing}()" in found.error
    with pytest.raises(ContractError, match=rf"Lame .*{missing}"):
        paceline.load(TOY | {"policy": wrong()})


def test_no_installed_policy_is_lame() -> None:
    assert failing_policies(Catalogue.load(environ={})) == ()


class Thing:
    """Nothing that JSON has a form for."""


class OddConfig(PolicyConfig):
    """Holds options of every kind."""

    model_config = {"arbitrary_types_allowed": True}

    name: Literal["odd"] = "odd"
    choose: Callable[[int], int] = abs
    thing: Thing = Thing()
    much: int = Field(default=3, ge=1)

    def build(self, seed: int = 0) -> Any:
        return Least()


def test_an_option_without_a_schema_leaves_the_others_described(make: SimpleNamespace) -> None:
    catalogue = Catalogue.load([make.plugin("odd", register_policies=lambda: [OddConfig])])
    described = json_schema(catalogue)["$defs"]["policy.odd"]["properties"]
    assert {"choose", "thing"} <= described.keys()
    assert described["much"]["minimum"] == 1
    json.dumps(described)


def test_an_option_without_a_json_form_is_written_as_its_text(tmp_path: Any) -> None:
    run = TOY | {"policy": OddConfig(), "trace": str(tmp_path / "t.jsonl"), "scope": "process"}
    with paceline.load(run) as decoder:
        decoder.generate("the rain", max_new_tokens=9)
    written = paceline.read_trace(tmp_path / "t.jsonl").run["config"]["policy"]
    assert written["much"] == 3
    assert "abs" in written["choose"]


def test_a_class_without_any_schema_accepts_any_options(make: SimpleNamespace) -> None:
    wrong = make.policy("wrong", model_json_schema=classmethod(raising(SystemExit(0))))
    described = json_schema(Catalogue.load([make.plugin("wrong", register_policies=lambda: [wrong])]))
    assert described["$defs"]["policy.wrong"]["required"] == ["name"]


def test_an_error_of_paceline_passes_as_it_is(make: SimpleNamespace) -> None:
    with pytest.raises(PacelineError, match=r"^as it is$"):
        build_policy(make.policy("coin", build=raising(paceline.CapabilityError("as it is")))())
