"""`paceline new-policy`: what it writes works at once, and what exists is safe."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from paceline.cli.new_policy import LONGEST, Package, write
from paceline.core.errors import ConfigError
from paceline.lab.recording.writer import write_recording
from paceline.lab.workloads.synthetic import cells, made_up

FAKE_VLLM = Path(__file__).parents[2] / "plugins" / "paceline-vllm" / "tests"
PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps")


def run(*arguments, cwd, site=None):
    """Run Python with arguments; `site` is a folder of packages beside those that are installed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PACELINE_")}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=environment | {"PYTHONPATH": str(site or "")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def snapshot(folder):
    return {path: path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Return the folder that the command writes."""
    parent = tmp_path_factory.mktemp("made")
    run("-Im", "paceline.cli", "new-policy", "see-saw", cwd=parent)
    return parent / "paceline-see-saw"


@pytest.fixture(scope="module")
def site(made, tmp_path_factory) -> Path:
    """Return the folder that pip has installed the package into."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    shutil.copytree(made, source, dirs_exist_ok=True)  # the build leaves files behind
    run("-I", *PIP, "--no-build-isolation", "--target", target, source, cwd=target)
    return target


def test_the_files_are_those_of_a_package(made):
    assert {str(path.relative_to(made)) for path in snapshot(made)} == {
        "README.md",
        "pyproject.toml",
        "src/paceline_see_saw/__init__.py",
        "src/paceline_see_saw/py.typed",
        "tests/test_paceline_see_saw.py",
    }


def test_its_own_tests_pass(made, site, tmp_path):
    copied = made / "tests" / "test_paceline_see_saw.py"
    shown = run("-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", copied, cwd=tmp_path, site=site)
    assert "2 passed" in shown


def test_once_installed_it_is_listed_without_a_fault_and_decodes(site, tmp_path):
    listed = json.loads(run("-m", "paceline.cli", "plugins", "--json", cwd=tmp_path, site=site))
    (ours,) = [one for one in listed["policies"] if one["name"] == "see-saw"]
    assert (ours["distribution"], ours["options"]) == ("paceline-see-saw", ["max_gamma", "memory"])
    assert listed["broken"] == []

    (tmp_path / "run.yaml").write_text("target: toy\ndrafts: {toy: toy}\npolicy: see-saw\n")
    asked = ("generate", "-c", "run.yaml", "--json", "-n", "60", "--compare", "once")
    done = json.loads(run("-m", "paceline.cli", *asked, cwd=tmp_path, site=site))
    assert done["policy"] == "see-saw"
    assert done["accepted"] > 0


def test_it_is_replayed_reported_and_tuned(site, tmp_path):
    write_recording(
        tmp_path / "recording.jsonl", made_up(*cells("regimes-0.12"), texts=10, tokens=100, longest=6)
    )
    command = ("-m", "paceline.cli")
    asked = ("replay", "recording.jsonl", "--policies", "static-2,see-saw", "--seeds", "1", "--jobs", "1")
    run(*command, *asked, cwd=tmp_path, site=site)
    rows = json.loads(run(*command, "report", "--json", cwd=tmp_path, site=site))["rows"]
    assert {row["label"] for row in rows} == {"static-0", "static-2", "see-saw"}
    assert next(row for row in rows if row["label"] == "see-saw")["speedup"]["value"] > 1.0
    tuned = json.loads(run(*command, "tune", "--tries", "2", "--json", cwd=tmp_path, site=site))
    assert tuned["variations"] > 0  # no other policy has options that are varied


VLLM = """
import json, sys
sys.path.insert(0, sys.argv[1])
import conftest as fake
from paceline_vllm.engine import set_up

config, clock = fake.vllm_config({"policy": "see-saw", "status": "status.json"}), fake.HandClock()
setup = set_up(config, table=(0, 4), delay=1, about={}, clock=clock)
scheduler = fake.Steered(4)
scheduler._paceline_begin(setup)
one = fake.Engine(scheduler, clock)
for name in "ab":
    one.add(name, max_tokens=60)
one.serve()
setup.close()
print(json.dumps(setup.adapter.counters()))
"""


def test_it_steers_the_adapter_of_vllm(site, tmp_path):
    shown = run("-W", "ignore", "-c", VLLM, FAKE_VLLM, cwd=tmp_path, site=site)
    found = json.loads(shown.splitlines()[-1])
    assert found["failed"] is False
    assert found["gammas"].get("4", 0) > 3


@pytest.mark.parametrize("name", ["a", "see-saw", "a" * LONGEST, "-".join("abcdefghijkl")])
def test_ruff_is_content_by_its_default_rules_however_long_the_name(name, tmp_path):
    folder = write(Package(name), tmp_path, "1.0")
    run("-Im", "ruff", "check", "--no-cache", ".", cwd=folder)
    run("-Im", "ruff", "format", "--no-cache", "--check", ".", cwd=folder)


def test_mypy_is_content_in_strict_mode(made, tmp_path):
    run("-Im", "mypy", "--strict", "--cache-dir", tmp_path, cwd=made)


def test_three_commands_are_told_that_follow(cli):
    shown = cli.call("new-policy", "seesaw", "--dir", "my plugins", code=0).stdout
    assert [line.strip() for line in shown.splitlines()[2:]] == [
        "python -m pip install --editable 'my plugins/paceline-seesaw[test]'",
        "python -m pytest 'my plugins/paceline-seesaw'",
        "paceline generate --demo --policy seesaw",
    ]
    assert (cli.folder / "my plugins" / "paceline-seesaw" / "pyproject.toml").exists()


@pytest.mark.parametrize("kind", ["folder", "file", "link to nowhere"])
def test_what_exists_is_left_as_it_is(cli, kind):
    place = cli.folder / "paceline-seesaw"
    if kind == "folder":
        place.mkdir()
        (place / "README.md").write_text("mine")
    elif kind == "file":
        place.write_text("mine")
    else:
        place.symlink_to("nowhere")
    before = snapshot(cli.folder)

    done = cli.call("new-policy", "seesaw", code=2)

    assert "paceline-seesaw exists already" in done.stderr
    assert snapshot(cli.folder) == before


def test_the_name_of_an_installed_policy_is_refused(cli):
    done = cli.call("new-policy", "online", code=2)
    assert "there is a policy 'online' already, from paceline" in done.stderr
    assert list(cli.folder.iterdir()) == []


def test_the_name_of_an_installed_distribution_is_refused(site, made, tmp_path):
    with pytest.raises(AssertionError, match="there is a policy 'see-saw' already"):
        run("-m", "paceline.cli", "new-policy", "see-saw", cwd=tmp_path, site=site)
    (site / "paceline_see_saw").rename(site / "gone")
    try:
        with pytest.raises(AssertionError, match=r"paceline-see-saw 0\.1\.0 is installed already"):
            run("-m", "paceline.cli", "new-policy", "see-saw", cwd=tmp_path, site=site)
    finally:
        (site / "gone").rename(site / "paceline_see_saw")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Seesaw",
        "see_saw",
        "see saw",
        "see--saw",
        "-seesaw",
        "seesaw-",
        "1st",
        "../seesaw",
        "sée",
        "policy",
        "a" * 25,
    ],
)
def test_what_cannot_be_a_name_is_refused(name):
    with pytest.raises(ConfigError, match="is no name for a policy"):
        Package(name)


def test_the_prefix_of_packages_is_no_part_of_a_name():
    with pytest.raises(ConfigError, match="leave out 'paceline-'"):
        Package("paceline-seesaw")


def test_a_place_that_cannot_be_written_is_an_error_with_its_reason(cli):
    cli.file("file", "")
    done = cli.call("new-policy", "seesaw", "--dir", "file", code=2)
    assert "file is no folder; give another path" in done.stderr
