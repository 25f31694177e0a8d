"""The package as paceline sees it: its policies, and its README."""

import re
from pathlib import Path

import pytest

import paceline
from paceline_banditspec import Exp3SpecConfig, UcbSpecConfig

ROOT = Path(__file__).resolve().parents[1]


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
