"""The package as paceline sees it: what it imports, and what it provides."""

import ast
import re
from pathlib import Path

import pytest

import paceline
import paceline.testing
from paceline_banditspec import Exp3SpecConfig, UcbSpecConfig

ROOT = Path(__file__).resolve().parents[1]
PUBLIC = {"paceline": set(paceline.__all__), "paceline.testing": set(paceline.testing.__all__)}
FILES = sorted([*(ROOT / "src").rglob("*.py"), *(ROOT / "tests").rglob("*.py")])


def taken_from_paceline(path: Path) -> list[tuple[str, str]]:
    """Return module and name of everything that a file imports from paceline."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "paceline":
            found += [(node.module or "", alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names if alias.name.partition(".")[0] == "paceline"]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_only_public_names_of_paceline_are_imported(path):
    strange = [
        (module, name)
        for module, name in taken_from_paceline(path)
        if module not in PUBLIC or (name and name not in PUBLIC[module])
    ]
    assert strange == []


def test_the_check_of_imports_sees_some():
    assert {module for path in FILES for module, _ in taken_from_paceline(path)} == set(PUBLIC)


def test_both_policies_are_installed_under_their_names():
    found = paceline.Catalogue.load().policies
    ours = {name for name, entry in found.items() if entry.distribution == "paceline-banditspec"}
    assert ours == {"ucbspec", "exp3spec"}


def test_every_run_file_of_the_readme_loads(tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    names = set()
    for block in blocks:
        (tmp_path / "run.yaml").write_text(block, encoding="utf-8")
        names.add(paceline.load_config(tmp_path / "run.yaml").policy.name)
    assert names == {"ucbspec", "exp3spec"}


@pytest.mark.parametrize("config", [UcbSpecConfig, Exp3SpecConfig])
def test_every_option_is_in_the_readme_with_a_description(config):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    options = {name: info for name, info in config.model_fields.items() if name != "name"}
    assert [
        name for name, info in options.items() if f"| `{name}` |" not in text or not info.description
    ] == []
