"""Counts what a reader has to read: `python -I tools figures [CHECKOUT ...]`, a column for each checkout of paceline.

Modules and lines of each folder; files that the policies `auto` and `ucb` are made of, with the costs in core that they
ask; functions and modules that one round crosses, and one `generate(custom_generate=)` of transformers. Older commits
are read the same way: give a work tree of each.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
PACKAGE = ("core", "policies", "backends", "lab", "serving", "cli")
OTHERS = ("tools", "tests", "plugins")
COSTS = tuple(f"paceline.core.{name}" for name in ("costs", "curve", "price", "levels"))
READ = ("paceline.policies", *COSTS)
"""The modules that count as part of a policy: its own package, and the cost model that it asks."""

CROSSED = """
import json, sys
from statistics import median
sys.path.insert(0, sys.argv[1])
import paceline, paceline.hf
from paceline.backends.embedded.config import WEIGHTS
from transformers import AutoModelForCausalLM, AutoTokenizer

def crossed(call):
    codes = []
    def note(frame, event, _argument):
        if event == "call" and "/paceline/" in frame.f_code.co_filename:
            codes.append(frame.f_code)
    sys.setprofile(note)
    try:
        result = call()
    finally:
        sys.setprofile(None)
    return result, [len(codes), len(set(codes)), len({code.co_filename for code in codes})]

rounds = paceline.load().rounds("import os\\n", max_new_tokens=200)
for _ in range(6):  # what is imported or opened once is no part of a round
    next(rounds)
crossings = []
for _ in range(30):
    done, numbers = crossed(lambda: next(rounds, None))
    if done is not None and done.plan.gamma:
        crossings.append(numbers)
one_round = [round(median(column)) for column in zip(*crossings)]
tokenizer = AutoTokenizer.from_pretrained(WEIGHTS / "target")
model, draft = (AutoModelForCausalLM.from_pretrained(WEIGHTS / name) for name in ("target", "draft-small"))
fast = paceline.hf.adaptive(draft)
inputs = tokenizer("import os\\n", return_tensors="pt")
options = {"max_new_tokens": 48, "do_sample": False, "custom_generate": fast}
model.generate(**inputs, **options)
_, one_call = crossed(lambda: model.generate(**inputs, **options))
print(json.dumps([one_round, one_call]))
"""


def sizes(folder: Path) -> tuple[int, int]:
    """Return modules and lines below a folder."""
    files = [path for path in folder.rglob("*.py") if "build" not in path.parts]
    return len(files), sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)


def module_file(checkout: Path, module: str) -> Path | None:
    """Return the file of a module of paceline, if it is one."""
    path = checkout.joinpath(*module.split(".")[1:])
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def imported(path: Path, checkout: Path) -> set[Path]:
    """Return the files of `READ` that a file imports; what only type checkers import is not needed to follow it."""
    files = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node not in typing_only:
            for module in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                file = module_file(checkout, module) if module.startswith(READ) else None
                if file is not None and file.name != "__init__.py":
                    files.add(file)
    return files


def files_of_policy(checkout: Path, name: str) -> list[Path]:
    """Return the files to read for a policy."""
    declared = f'Literal["{name}"] = "{name}"'
    files = {
        path for path in (checkout / "policies").rglob("*.py") if declared in path.read_text(encoding="utf-8")
    }
    costs = module_file(checkout, "paceline.core.costs")
    files_read, queue = set[Path](), [*files, *([costs] if costs is not None else [])]
    while queue:
        path = queue.pop()
        if path not in files_read:
            files_read.add(path)
            queue.extend(imported(path, checkout))
    return sorted(files_read)


def crossings(checkout: Path) -> list[list[int]]:
    """Return calls, functions and modules of one round, and of one call of `generate`."""
    command = [sys.executable, "-I", "-W", "ignore", "-c", CROSSED, str(checkout / "src")]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 - our own program
    measured: list[list[int]] = json.loads(done.stdout.splitlines()[-1])
    return measured


def figures(checkout: Path) -> dict[str, str]:
    """Return every figure of a checkout by what it says."""
    by_folder = {name: sizes(checkout / name) for name in (*PACKAGE, *OTHERS)}
    whole = [sum(by_folder[name][column] for name in PACKAGE) for column in (0, 1)]
    shown = {"package: modules, lines": f"{whole[0]}, {whole[1]:,}"}
    shown |= {f"{name}/": f"{modules}, {lines:,}" for name, (modules, lines) in by_folder.items()}
    for policy in ("auto", "ucb"):
        files = files_of_policy(checkout, policy)
        lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)
        shown[f"to read for {policy}: files, lines"] = f"{len(files)}, {lines:,}"
    what = ("one round under auto, median of those that draft", "generate(custom_generate=), 48 tokens")
    for name, (calls, functions, modules) in zip(what, crossings(checkout), strict=True):
        shown[f"{name}: functions, modules, calls"] = f"{functions}, {modules}, {calls:,}"
    return shown


def main(arguments: list[str]) -> None:
    """Print one table."""
    columns = {Path(name): figures(Path(name).resolve()) for name in arguments or [str(HERE)]}
    print("| figure |" + "".join(f" {path.resolve().name} |" for path in columns))
    print("|---" * (1 + len(columns)) + "|")
    for name in next(iter(columns.values())):
        print(f"| {name} |" + "".join(f" {column[name]} |" for column in columns.values()))


if __name__ == "__main__":
    main(sys.argv[1:])
