"""Packages that pages, messages and hints name can be installed today: no index has a package named paceline."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("core", "policies", "backends", "lab", "plugins", "docs", "src")
FILES = sorted(
    {
        *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in {".py", ".md"}),
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
    }
)
BY_NAME = re.compile(r"pip install\b[^\n;#`]*?[ '\"]paceline\b|install '?paceline\[")
"""A package of ours that is installed by its name, and not by the folder that it lies in."""


PLUGIN_ALONE = re.compile(r"pip install(?: -[-\w]+)* '?\./plugins/")
"""A plugin without paceline before it, which pip would then look for on the index."""


def by_name(text: str) -> list[str]:
    return [found[0] for pattern in (BY_NAME, PLUGIN_ALONE) for found in pattern.finditer(text)]


def test_nothing_of_ours_is_installed_by_its_name() -> None:
    found = {
        f"{path.relative_to(ROOT)}: {line}"
        for path in FILES
        if "tests" not in path.relative_to(ROOT).parts
        for line in by_name(path.read_text(encoding="utf-8"))
    }
    assert found == set()


@pytest.mark.parametrize(
    "text",
    [
        "pip install paceline",
        "run: pip install 'paceline[hf]'",
        "pip install 'ray[llm]' paceline-vllm",
        "needs pyarrow; install paceline[parquet], or",
        "pip install ./plugins/paceline-vllm",
        "pip install --editable './plugins/paceline-ray[ray]'",
    ],
)
def test_the_check_sees_names(text: str) -> None:
    assert by_name(text)


@pytest.mark.parametrize(
    "text",
    [
        "pip install .",
        "pip install '.[hf]' './plugins/paceline-ray[ray]'",
        "python -m pip install --editable 'my plugins/paceline-seesaw[test]'",
        "pip install . ./plugins/paceline-vllm",
        "After `pip install .`, `paceline plugins` lists the policy",
    ],
)
def test_the_check_lets_folders_pass(text: str) -> None:
    assert not by_name(text)
