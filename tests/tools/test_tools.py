"""The programs that are run by hand: found by name from a checkout, and unknown to the package."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ("core", "policies", "backends", "lab", "serving", "cli", "src/paceline_command")


def tools(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "tools", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_without_a_name_the_programs_are_listed_with_what_they_do() -> None:
    done = tools()
    lines = dict(line.split(maxsplit=1) for line in done.stderr.splitlines())
    assert done.returncode == 1
    assert {"bench_gpu", "changing", "changing.starved", "embedded_recipe", "policy_table"} <= lines.keys()


def test_a_program_is_run_with_its_arguments() -> None:
    done = tools("changing", "--help")
    assert done.returncode == 0
    assert "--kind" in done.stdout


def test_every_program_that_make_names_is_there() -> None:
    made = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = {line.split("-I tools ")[1].split()[0] for line in made.splitlines() if "-I tools " in line}
    listed = {line.split()[0] for line in tools().stderr.splitlines()}
    assert named
    assert named <= listed


def test_the_package_imports_none_of_them() -> None:
    names = {path.stem for path in (ROOT / "tools").iterdir()} | {"tools"}
    for folder in PACKAGE:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and not node.level:
                    modules.append(node.module or "")
                assert not names & {module.partition(".")[0] for module in modules}, path
