"""A plugin as its author ships it: its own distribution, installed with pip, named in a YAML file."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PYPROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "paceline-coin"
version = "1.2.3"

[project.entry-points.paceline]
coin = "paceline_coin"
broken-coin = "paceline_coin.missing"

[tool.setuptools]
py-modules = ["paceline_coin"]
"""

MODULE = '''
from typing import Literal

from pydantic import Field

from paceline import AnyPolicy, PolicyConfig
from paceline.core.plugins.hooks import impl


class CoinConfig(PolicyConfig):
    """Hands each round to one of two policies."""

    name: Literal["coin"] = "coin"
    heads: AnyPolicy = "static"
    tails: AnyPolicy
    share: float = Field(default=0.5, ge=0, le=1)

    def build(self, seed=0):
        return [self.heads.build(seed), self.tails.build(seed)]


@impl
def register_policies():
    return [CoinConfig]
'''

RIGHT = """
target: toy
policy:
  name: coin
  tails: {name: static, gamma: 7}
"""

WRONG = """
target: toy
policy:
  name: coin
  tails: {name: coin, tails: static, share: 2, headz: static}
"""

SCRIPT = """
from paceline import json_schema, load_config
from paceline.core.plugins.catalogue import Catalogue

catalogue = Catalogue.load()
entry = catalogue.policy("coin")
print(entry.distribution, entry.version, entry.entry_point)
print([broken[:2] for broken in catalogue.broken])
print("policy.coin" in json_schema(catalogue)["$defs"])
config = load_config("right.yaml")
print(config.policy.heads.gamma, config.policy.tails.gamma)
print([type(policy).__name__ for policy in config.policy.build(3)])
try:
    load_config("wrong.yaml")
except ValueError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the distribution, without network, into a folder of its own."""
    source, target = tmp_path_factory.mktemp("paceline-coin"), tmp_path_factory.mktemp("site")
    (source / "pyproject.toml").write_text(PYPROJECT)
    (source / "paceline_coin.py").write_text(MODULE)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    options = ["--no-deps", "--no-build-isolation", "--target", str(target), str(source)]
    done = subprocess.run([*pip, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


def test_a_policy_of_another_distribution_is_found_named_in_yaml_and_built(
    site: Path, tmp_path: Path
) -> None:
    (tmp_path / "right.yaml").write_text(RIGHT)
    (tmp_path / "wrong.yaml").write_text(WRONG)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PACELINE_")}
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        env=environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == [
        "paceline-coin 1.2.3 coin",
        "[('broken-coin', 'paceline-coin')]",
        "True",
        "4 7",
        "['StaticPolicy', 'StaticPolicy']",
        "wrong.yaml:5: policy.tails.share: found 2; should be less than or equal to 1",
        "wrong.yaml:5: policy.tails.headz: unknown key; did you mean 'heads'?",
    ]
