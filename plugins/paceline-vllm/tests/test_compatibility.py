"""A vLLM that lacks what is needed is refused with the versions that work; the package itself needs none."""

import ast
import subprocess
import sys
import tomllib
from dataclasses import make_dataclass
from pathlib import Path

import pytest
import structlog

from paceline import BackendError
from paceline_vllm.compatibility import FIELDS, METHODS, check_vllm

ROOT = Path(__file__).resolve().parents[1]
Whole = type("Whole", (), dict.fromkeys(METHODS, lambda self: None))
Output = make_dataclass("Output", FIELDS)


@pytest.mark.parametrize("version", ["0.29.0", "0.32.0", "0.32.0+cpu"])
def test_tested_versions_pass_silently(version):
    with structlog.testing.capture_logs() as logs:
        check_vllm(version, Whole, Output)
    assert logs == []


@pytest.mark.parametrize("version", ["0.24.0", "0.33.1", "1.2"])
def test_other_versions_that_have_everything_pass_and_are_told(version):
    with structlog.testing.capture_logs() as logs:
        check_vllm(version, Whole, Output)
    assert [line["version"] for line in logs] == [version]


def test_a_version_that_is_too_old_is_refused_with_those_that_work():
    with pytest.raises(BackendError, match=r"0\.22\.1, is too old .* from 0\.24 on .* 0\.29\.0 and 0\.32\.0"):
        check_vllm("0.22.1", Whole, Output)


@pytest.mark.parametrize("place", METHODS)
def test_a_scheduler_that_lost_a_method_is_refused_by_its_name(place):
    broken = type("Broken", (), {name: lambda self: None for name in METHODS if name != place})
    with pytest.raises(BackendError, match=rf"lacks what a policy needs \({place}\): versions from 0\.24"):
        check_vllm("0.99.0", broken, Output)


@pytest.mark.parametrize("field", FIELDS)
def test_an_output_that_lost_a_field_is_refused_by_its_name(field):
    with pytest.raises(BackendError, match=rf"lacks what a policy needs \({field}\)"):
        check_vllm("0.29.0", Whole, make_dataclass("Output", [name for name in FIELDS if name != field]))


def test_installing_the_package_asks_for_no_vllm_and_no_torch():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [
        *project["dependencies"],
        *(one for group in project["optional-dependencies"].values() for one in group),
    ]
    assert not [one for one in asked if one.startswith(("vllm", "torch", "ray", "prometheus"))]


def test_everything_but_the_schedulers_and_the_metrics_imports_without_vllm():
    names = [path.stem for path in (ROOT / "src/paceline_vllm").glob("*.py")]
    light = [f"paceline_vllm.{name}" for name in names if name not in {"__init__", "scheduler", "metrics"}]
    code = (
        f"import sys; sys.modules['vllm'] = None; import paceline_vllm, {', '.join(light)}; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-I", "-c", code], check=True)


def test_every_attribute_that_vllms_classes_are_given_is_namespaced():
    tree = ast.parse((ROOT / "src/paceline_vllm/mixin.py").read_text(encoding="utf-8"))
    mixin = next(node for node in tree.body if isinstance(node, ast.ClassDef))
    methods = {node.name for node in mixin.body if isinstance(node, ast.FunctionDef)}
    assert methods - set(METHODS) == {name for name in methods if name.startswith("_paceline_")}
    stored = {
        node.attr
        for node in ast.walk(mixin)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and ast.unparse(node.value) == "self"
    }
    assert stored
    assert all(name.startswith("_paceline_") for name in stored)
