"""The plugins as paceline sees them: they import its public names alone, and what their pages show is true."""

import ast
import re
from pathlib import Path

import pytest

import paceline
import paceline.hf
import paceline.serving
import paceline.testing

ROOT = Path(__file__).resolve().parents[1] / "plugins"
PUBLIC = {
    module.__name__: set(module.__all__)
    for module in (paceline, paceline.hf, paceline.serving, paceline.testing)
}
PLUGINS = sorted(path.parent for path in ROOT.glob("*/pyproject.toml"))
FILES = [
    path for plugin in PLUGINS for part in ("src", "tests") for path in sorted((plugin / part).rglob("*.py"))
]


def imports_of_paceline(path):
    """Yield module and name of everything that a file imports from paceline."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "paceline":
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (
                (alias.name, "") for alias in node.names if alias.name.partition(".")[0] == "paceline"
            )


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_public_names_of_paceline_are_imported(path):
    assert [
        (module, name)
        for module, name in imports_of_paceline(path)
        if module not in PUBLIC or (name and name not in PUBLIC[module])
    ] == []


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.name)
def test_the_check_of_imports_sees_some(plugin):
    files = [path for path in FILES if path.is_relative_to(plugin)]
    assert "paceline" in {module for path in files for module, _ in imports_of_paceline(path)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_is_longer_than_one_of_paceline_may_be(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.name)
def test_every_run_file_of_a_readme_loads(plugin, tmp_path):
    text = (plugin / "README.md").read_text(encoding="utf-8")
    for block in re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        (tmp_path / "run.yaml").write_text(block, encoding="utf-8")
        paceline.load_config(tmp_path / "run.yaml")
