"""The folders at the top are the packages, each under one name, and the light parts stay light."""

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("core", "policies", "backends", "lab", "serving", "cli")
MODULES = sorted(path for folder in (*FOLDERS, "tools") for path in (ROOT / folder).rglob("*.py"))
LONGEST = 400


def isolated(code: str) -> str:
    """Run code in an interpreter that sees installed packages only, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def tracked_text() -> list[tuple[Path, str]]:
    """Return every text file of the project with its content."""
    # A work tree beside the first has a file .git, which says where the first is.
    skipped = {".git", "__pycache__", "weights", "build", "dist", "runs"}
    found = []
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        hidden = any(part.startswith(".") and part != ".ci" for part in parts[:-1])
        if hidden or skipped & set(parts) or any(part.endswith(".egg-info") for part in parts):
            continue
        if not path.is_file() or "src" in parts and len(parts) > 3:  # noqa: RUF021 - the links, seen already
            continue
        try:
            found.append((path.relative_to(ROOT), path.read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_at_the_top_is_the_package_of_its_name(folder: str) -> None:
    module = import_module(f"paceline.{folder}")
    assert module.__file__ is not None
    assert Path(module.__file__).resolve() == ROOT / folder / "__init__.py"


def test_the_folders_are_not_importable_by_themselves() -> None:
    """A second `core.loop` beside `paceline.core.loop` would have classes of its own."""
    names = isolated(
        "from importlib.util import find_spec\n"
        f"print([n for n in {FOLDERS} if find_spec(n) and (find_spec(n).origin or '').startswith({str(ROOT)!r})])"
    )
    assert names == "[]"
    assert not any(module == folder for folder in FOLDERS for module in sys.modules)


@pytest.mark.parametrize(
    "imports",
    [
        ["from paceline import *", "import paceline.policies, paceline.backends"],
        ["import paceline.testing"],
        ["import paceline.hf"],
        ["import paceline.serving"],
        ["import paceline.cli"],
        ["import paceline.core.plugins.catalogue as c; c.Catalogue.load()"],
    ],
    ids=["the three packages", "testing", "transformers", "server", "command line", "a loaded catalogue"],
)
def test_importing_it_leaves_the_tensor_libraries_unloaded(imports: list[str]) -> None:
    lines = "\n".join(imports)
    loaded = isolated(
        f"import sys\n{lines}\nprint([n for n in ('torch', 'transformers', 'numpy') if n in sys.modules])"
    )
    assert loaded == "[]"


def test_structlog_waits_until_something_is_logged() -> None:
    assert isolated("import sys\nfrom paceline import *\nprint('structlog' in sys.modules)") == "False"


def test_importing_it_loads_nothing_that_is_not_named() -> None:
    """The package itself takes no time: a name loads its module when it is first asked for."""
    shown = (
        "print(sorted(name for name in sys.modules if name.startswith(('paceline.', 'pydantic', 'yaml'))))"
    )
    assert isolated(f"import sys, paceline\n{shown}") == "['paceline.core', 'paceline.core.lazy']"
    assert isolated(f"import sys\nfrom paceline import PacelineError\n{shown}") == (
        "['paceline.core', 'paceline.core.errors', 'paceline.core.lazy']"
    )


def test_a_public_name_is_listed_and_an_unknown_one_is_refused() -> None:
    module = import_module("paceline")
    assert set(module.__all__) <= set(dir(module))
    with pytest.raises(AttributeError, match="module 'paceline' has no attribute 'nothing'"):
        module.nothing  # noqa: B018


def test_every_module_of_core_may_be_the_first_to_be_imported() -> None:
    """No cycle of imports hides behind the order in which others import."""
    names = [
        f"paceline.{'.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__')}"
        for path in MODULES
        if path.is_relative_to(ROOT / "core") and "testing" not in path.parts
    ]
    code = f"""
import os, pydantic, yaml
for name in {names!r}:
    child = os.fork()
    if child == 0:
        __import__(name)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, name
"""
    isolated(code)


def test_the_import_contracts_are_kept() -> None:
    code = "import sys\nfrom importlinter.cli import lint_imports\nsys.exit(lint_imports(no_cache=True))"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_modules_are_small() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES
    }
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def test_no_file_names_a_place_on_some_machine() -> None:
    places = re.compile(r"(?<![\w.~])/(?:work|farm|tmp|root|opt|home|Users)/")
    assert [f"{name}: {text}" for name, text in tracked_text() if places.search(text)] == []


def test_no_module_is_left_open() -> None:
    marks = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "X" * 3 + r"\b", "HA" + "CK")))
    assert [path.name for path in MODULES if marks.search(path.read_text(encoding="utf-8"))] == []
