"""Undocumented parts of transformers are read in two places, one for models and one for `generate` and its caches."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
HOSTS = (ROOT / "backends" / "torch" / "host.py", *(ROOT / "backends" / "transformers" / "host").iterdir())
MODULES = sorted(
    path
    for folder in ("backends", "lab", "serving", "cli", "tools", "plugins", "src/paceline")
    for path in (ROOT / folder).rglob("*.py")  # core and policies never see a model
    if path not in HOSTS and "tests" not in path.relative_to(ROOT).parts
)

DOCUMENTED = {"transformers", "transformers.utils.logging"}
"""Modules whose names are on a page of the documentation."""

NAMES_OF_THE_CACHE = {"past_key_values", "cache_params"}

ATTRIBUTES = {
    "activate_past_recording",
    "cumulative_length",
    "get_generation_mode",
    "get_mask_sizes",
    "get_text_config",
    "is_croppable",
    "is_encoder_decoder",
    "offloading",
    "prompt_ignore_length",
    "recurrent_states",
}
"""Of caches, configurations, models and processors. Private ones are found by their underscore, here and by ruff."""


def by_string(node: ast.AST) -> str:
    """Return the name that getattr and the like are given."""
    readers = {"getattr", "hasattr", "setattr"}
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in readers:
        name = node.args[1]
        return name.value if isinstance(name, ast.Constant) and isinstance(name.value, str) else ""
    return ""


def breaches(source: str, *, private: bool = True) -> list[str]:
    """Return what a module reads of transformers' private contract, a line each; `private` counts names with `_`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("transformers"):
            modules = {node.module, *(f"{node.module}.{each.name}" for each in node.names)}
            names += [] if modules & DOCUMENTED else [node.module]
            names += [each.name for each in node.names if "Cache" in each.name]
        elif isinstance(node, ast.Import):
            names += [each.name for each in node.names if each.name.startswith("transformers.")]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names += NAMES_OF_THE_CACHE & {node.value}
        elif isinstance(node, ast.keyword):
            names += NAMES_OF_THE_CACHE & {node.arg}
        elif isinstance(node, ast.Attribute):
            names += (ATTRIBUTES | NAMES_OF_THE_CACHE) & {node.attr}
        elif by_string(node):
            names += ATTRIBUTES & {by_string(node)}
            names += [by_string(node)] if private and re.match("_[^_]", by_string(node)) else []
        found += [f"{node.lineno}: {name}" for name in names]
    return found


def test_nothing_else_reads_what_transformers_does_not_promise():
    assert len(MODULES) > 100
    found = [
        f"{path.relative_to(ROOT)}:{breach}"
        for path in MODULES
        for breach in breaches(path.read_text(), private="plugins" not in path.relative_to(ROOT).parts)
    ]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "from transformers.cache_utils import DynamicLayer",
        "from transformers import DynamicCache",
        "import transformers.generation.utils",
        "model(ids, past_key_values=cache)",
        "inputs.get('past_key_values')",
        "output.past_key_values",
        "cache.activate_past_recording()",
        "getattr(config, '_mask_length', None)",
    ],
)
def test_the_search_sees(line):
    assert breaches(line)


def test_names_that_are_documented_are_free_to_use():
    assert breaches("from transformers import AutoModel\nfrom transformers.utils import logging\n") == []
