"""The commands that the README names first."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def make(*arguments: str, cwd: Path = ROOT) -> str:
    # A make that runs these tests must not pass its own flags and variables on.
    environment = {
        name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "VENV"}
    }
    done = subprocess.run(
        ["make", *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_help_lists_every_target() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)[1].split())  # type: ignore[index]
    assert {line.split()[1] for line in make("help").splitlines()} == targets


def test_pytest_comes_last_so_that_its_summary_ends_the_output() -> None:
    steps = [line for line in make("--dry-run", "--always-make", "test").splitlines() if line.strip()]
    assert "-Im pytest" in steps[-1]
    for tool in ("ruff check", "ruff format", "mypy", "lint-imports"):
        assert any(tool in step for step in steps[:-1]), tool


def test_ci_ends_with_make_test() -> None:
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert lines[-1] == "make test"


def test_the_plugins_that_make_installs_are_those_whose_tests_are_run() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    tested = [path for path in config["tool"]["pytest"]["ini_options"]["testpaths"] if path != "tests"]
    steps = make("--dry-run", "--always-make", "types")
    installed = re.findall(r"--editable (plugins/\S+)", steps)
    assert installed
    assert sorted(tested) == sorted(f"{plugin}/tests" for plugin in installed)
    assert all(f"{plugin}/src" in steps for plugin in installed)


@pytest.mark.slow
def test_the_demo_runs_from_nothing(tmp_path: Path) -> None:
    """Takes minutes: torch is installed into a fresh environment."""
    skipped = shutil.ignore_patterns(
        ".git", ".venv*", ".*_cache", ".hypothesis", "__pycache__", "runs", "*.egg-info"
    )
    shutil.copytree(ROOT, tmp_path / "tree", symlinks=True, ignore=skipped)
    shown = make("demo", cwd=tmp_path / "tree")
    assert (tmp_path / "tree" / ".venv" / ".stamp-user").exists()
    assert shown
