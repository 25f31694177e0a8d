"""Docstrings begin with a noun or a verb, and names say what they hold."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TESTS = ["tests", *(str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("plugins/*/tests")))]
FOLDERS = [
    *("core", "policies", "backends", "lab", "serving", "cli", "tools"),
    *(str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("plugins/*/src"))),
]
QUESTION = re.compile(r"\s*(What|Which|How|Who|Whom|Whose|Where|When|Whether|Why)\b")
VAGUE = frozenset({"found", "wanted", "told", "asked", "some", "one"})


def trees(folder: str) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((ROOT / folder).rglob("*.py")):
        yield path.relative_to(ROOT), ast.parse(path.read_text(encoding="utf-8"))


def docstrings(tree: ast.AST) -> Iterator[ast.Constant]:
    """Yield every text that stands alone: docstrings, those of attributes too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value


def names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield every name that is bound: variables, parameters, attributes, functions and classes."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name
            case ast.arg(arg=name):
                yield node.lineno, name
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name


@pytest.mark.parametrize("folder", [*FOLDERS, *TESTS])
def test_docstrings_begin_with_a_noun_or_a_verb(folder: str) -> None:
    questions = [
        f"{path}:{text.lineno}: {text.value[:60]}"
        for path, tree in trees(folder)
        for text in docstrings(tree)
        if isinstance(text.value, str) and QUESTION.match(text.value)
    ]
    assert questions == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_names_say_what_they_hold(folder: str) -> None:
    vague = [
        f"{path}:{line}: {name}"
        for path, tree in trees(folder)
        for line, name in names(tree)
        if name.strip("_") in VAGUE
    ]
    assert vague == []
