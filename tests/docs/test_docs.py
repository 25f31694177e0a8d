"""The documentation is true: run files load, samples run, commands, links and signatures exist."""

import inspect
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import paceline
from paceline.core.plugins import hooks

from ..shared.chat_model import write_chat_model

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
TUTORIAL = ROOT / "docs" / "writing-a-policy.md"
WEIGHTS = ROOT / "backends" / "embedded" / "weights"
CHAT_MODEL = "SmolLM2-135M-Instruct"
"""The folder that samples name for a chat model; a small one stands there when they are run."""
Blocks = Callable[..., list[Any]]

# Executes the blocks of one page in one namespace; a failure names page and line.
RUNNER = """
import json, sys
namespace = {"__name__": "page"}
for name, line, text in json.load(sys.stdin):
    exec(compile("\\n" * (line - 1) + text, name, "exec"), namespace)
"""

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
# The tutorial needs the plugin it builds: test_tutorial.py runs it with that plugin installed.
each_page_but_the_tutorial = pytest.mark.parametrize(
    "page", [page for page in PAGES if page != TUTORIAL], ids=lambda page: page.name
)


def run_page(page: Path, blocks: list[Any], folder: Path, *path: Path) -> subprocess.CompletedProcess[str]:
    """Run the Python blocks of a page in a folder that holds the files the page shows."""
    for block in blocks:
        if block.file and block.file.endswith(".yaml"):
            (folder / block.file).write_text(block.text, encoding="utf-8")
    code = [(page.name, b.line, b.text) for b in blocks if b.language == "python" and not b.file]
    setup = f"import sys\nsys.path[:0] = {[str(entry) for entry in path]!r}\n"
    return subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", setup + RUNNER],
        input=json.dumps(code), cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


@each_page_but_the_tutorial
def test_every_run_file_loads(page: Path, blocks: Blocks, tmp_path: Path) -> None:
    for block in blocks(page, "yaml", "yml"):
        if block.text.startswith("# not a run file"):
            continue
        path = tmp_path / "block.yaml"
        path.write_text(block.text, encoding="utf-8")
        try:
            paceline.load_config(path)
        except paceline.PacelineError as error:
            pytest.fail(f"{block}: {error}")


@each_page_but_the_tutorial
def test_every_sample_runs(page: Path, blocks: Blocks, tmp_path: Path) -> None:
    found = blocks(page, "python", "yaml")
    embedded = ("paceline.load()", "import WEIGHTS")
    if any(sign in block.text for block in found for sign in embedded) and not WEIGHTS.exists():
        pytest.skip("the weights of the embedded pair are not in this tree")
    if any(CHAT_MODEL in block.text for block in found):
        write_chat_model(tmp_path / CHAT_MODEL)
    done = run_page(page, found, tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_samples_for_services_pass_mypy_as_strict_as_it_is(blocks: Blocks, tmp_path: Path) -> None:
    page = ROOT / "docs" / "services.md"
    sample = tmp_path / "sample.py"
    sample.write_text("\n".join(block.text for block in blocks(page, "python")), encoding="utf-8")
    command = [sys.executable, "-Im", "mypy", "--strict", "--no-error-summary", str(sample)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@each_page
def test_every_link_inside_the_project_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if not re.match(r"[a-z]+:|#", target)]
    assert [target for target in local if not (page.parent / target.partition("#")[0]).exists()] == []


def test_every_page_that_a_message_sends_to_exists() -> None:
    sources = [
        path
        for folder in ("core", "policies", "backends", "lab", "serving", "cli")
        for path in (ROOT / folder).rglob("*.py")
    ]
    pages = {
        page for path in sources for page in re.findall(r"docs/[\w/-]+\.md", path.read_text(encoding="utf-8"))
    }
    assert {page for page in pages if not (ROOT / page).exists()} == set()


def commands(page: Path, blocks: Blocks) -> Iterator[list[str]]:
    """Yield the command lines of a page's shell blocks, as words."""
    for block in blocks(page, "sh", "bash"):
        for line in block.text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words:
                yield words


@each_page
def test_every_paceline_command_and_option_exists(page: Path, blocks: Blocks) -> None:
    from paceline.cli.app import COMMANDS, load

    known = {name: load(name).params for name in COMMANDS}
    for words in commands(page, blocks):
        if words[0] != "paceline":
            continue
        assert words[1] in known, words
        options = {
            opt for parameter in known[words[1]] for opt in (*parameter.opts, *parameter.secondary_opts)
        }
        used = {word.partition("=")[0] for word in words[2:] if word.startswith("--")}
        assert used - options - {"--help"} == set(), words


@each_page
def test_every_make_target_exists(page: Path, blocks: Blocks) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    asked = {
        word
        for words in commands(page, blocks)
        if words[0] == "make"
        for word in words[1:]
        if "=" not in word
    }
    assert asked - targets == set()


def plain_signature(function: Any) -> str:
    """Return a signature as a reader would type it: no quotes, no full paths."""
    return f"def {function.__name__}{str(inspect.signature(function)).replace(chr(39), '')}"


def specified_hooks() -> list[str]:
    return [name for name, thing in vars(hooks).items() if hasattr(thing, "paceline_spec")]


@pytest.mark.parametrize("name", specified_hooks())
def test_every_hook_is_documented_with_its_exact_signature(name: str) -> None:
    assert f"`{plain_signature(getattr(hooks, name))}`" in TUTORIAL.read_text(encoding="utf-8")


def test_there_are_hooks_to_document() -> None:
    assert specified_hooks() == ["register_policies", "register_backends"]


@pytest.mark.parametrize("protocol", [paceline.Policy, paceline.Mergeable])
def test_every_method_of_a_policy_is_documented_with_its_exact_signature(protocol: type) -> None:
    text = TUTORIAL.read_text(encoding="utf-8")
    methods = [
        thing for name, thing in vars(protocol).items() if inspect.isfunction(thing) and name[0] != "_"
    ]
    assert methods
    assert [s for s in map(plain_signature, methods) if f"`{s}`" not in text] == []


def test_every_page_is_listed_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = {page.name for page in PAGES if page.parent.name == "docs"} - {"index.md"}
    assert {page for page in pages if f"]({page})" not in index} == set()


def test_every_key_of_a_run_file_is_documented() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    top = set(paceline.RunConfig.model_fields) - {"generation"}
    keys = top | {f"generation.{key}" for key in paceline.GenerationConfig.model_fields}
    assert {key for key in keys if f"| `{key}` |" not in text} == set()
