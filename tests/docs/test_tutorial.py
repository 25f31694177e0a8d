"""The tutorial's package: made from the page itself, installed by pip beside paceline, and used as its author would."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "writing-a-policy.md"


def run(*arguments: str | Path, cwd: Path, site: Path | None = None) -> str:
    """Run Python with arguments; `site` is where the package is installed."""
    environment = {**os.environ, "PYTHONPATH": str(site or ""), "PYTHONWARNINGS": "error", "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def paceline(*arguments: str | Path, cwd: Path, site: Path) -> str:
    code = "import sys; from paceline.cli import main; sys.exit(main())"
    return run("-c", code, *arguments, cwd=cwd, site=site)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, blocks: Callable[..., list[Any]]) -> Path:
    """Return a folder with the files that the page shows."""
    folder = tmp_path_factory.mktemp("seesaw")
    for block in blocks(PAGE, "python", "toml", "yaml"):
        if block.file:
            path = folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def site(package: Path) -> Path:
    """Return the folder that pip has installed the package into."""
    options = (
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--disable-pip-version-check",
        "--target",
        "site",
    )
    run("-W", "ignore", "-m", "pip", "install", *options, ".", cwd=package)
    return package / "site"


def test_the_installed_plugin_is_listed_with_its_provider(package: Path, site: Path) -> None:
    listed = json.loads(paceline("plugins", "--json", cwd=package, site=site))
    (seesaw,) = [row for row in listed["policies"] if row["name"] == "seesaw"]
    assert seesaw["distribution"] == "paceline-seesaw"
    assert listed["broken"] == []


def test_a_run_file_can_name_it_and_the_output_is_the_targets_own(package: Path, site: Path) -> None:
    command = ("generate", "--config", "run.yaml", "--json", "once upon a time")
    with_seesaw = json.loads(paceline(*command, cwd=package, site=site))
    plain = json.loads(paceline(*command, "--set", "policy={name: static, gamma: 0}", cwd=package, site=site))
    assert with_seesaw["policy"] == "seesaw"
    assert with_seesaw["drafted"] > 0
    assert with_seesaw["rounds"] < plain["rounds"]
    assert with_seesaw["tokens"] == plain["tokens"]


def test_its_own_test_passes(package: Path, site: Path) -> None:
    run("-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", cwd=package, site=site)


def test_every_other_sample_of_the_page_runs(
    package: Path, site: Path, blocks: Callable[..., list[Any]]
) -> None:
    lines = ["namespace = {'__name__': 'page'}"]
    for block in blocks(PAGE, "python"):
        if not block.file:
            padded = "\n" * (block.line - 1) + block.text
            lines.append(f"exec(compile({padded!r}, {PAGE.name!r}, 'exec'), namespace)")
    (package / "page.py").write_text("\n".join(lines), encoding="utf-8")
    run("page.py", cwd=package, site=site)
