"""Releases of the libraries that are supported, and what is said of one that nobody has tested."""

import re
import tomllib
from pathlib import Path

import pytest
import structlog
import torch

from paceline.backends.torch import host, load_errors
from paceline.backends.torch.load_errors import BELOW, NEWEST_TESTED, OLDEST, missing_libraries
from paceline.backends.transformers import HfTarget
from paceline.backends.transformers.host.cache import CACHE, CACHE_NAMES
from paceline.backends.transformers.request import read_request
from paceline.core.errors import BackendError

from ..tiny_models import tiny_model

ROOT = Path(__file__).resolve().parents[3]
NEXT = "5.99.1"


@pytest.fixture
def installed(monkeypatch):
    """Return a function that makes a transformers of another version seem installed."""

    def seems(version):
        monkeypatch.setattr(load_errors, "_installed", {"torch": "2.13.0", "transformers": version}.get)

    host.announce.cache_clear()
    yield seems
    host.announce.cache_clear()


def test_the_newest_tested_release_is_the_one_that_the_tests_install():
    assert f"transformers=={NEWEST_TESTED}\n" in (ROOT / "constraints.txt").read_text()


def test_the_bounds_are_those_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needs = dict(re.match(r"(\w+)>=(.*)", line).groups() for line in project["optional-dependencies"]["hf"])
    for name, oldest in OLDEST.items():
        below = f",<{'.'.join(map(str, BELOW[name]))}" if name in BELOW else ""
        assert needs[name] == ".".join(map(str, oldest)) + below


@pytest.mark.parametrize(
    ("version", "problem"),
    [("5.15.1", "too old"), ("5.16.0", None), ("5.24.0", None), ("5.99.0.dev0", None), ("6.0.0", "too new")],
)
def test_releases_outside_the_bounds_are_named_with_what_is_needed(installed, version, problem):
    installed(version)
    assert len(missing_libraries()) == (problem is not None)
    for sentence in missing_libraries():
        assert f"transformers {version} is {problem}" in sentence


@pytest.mark.parametrize(
    ("version", "tested"), [("5.16.0", True), (NEWEST_TESTED, True), ("5.24.1", False), (NEXT, False)]
)
def test_a_newer_release_is_logged_once_a_process_and_a_tested_one_never(installed, version, tested):
    installed(version)
    with structlog.testing.capture_logs() as lines:
        for _ in range(2):
            HfTarget(tiny_model("llama"))
    assert [line["event"] for line in lines] == ([] if tested else ["transformers_untested"])
    assert tested or (version in lines[0]["reason"] and NEWEST_TESTED in lines[0]["reason"])


class Renamed(torch.nn.Module):
    """A model as a release might make them: the cache has a name that nobody has heard of."""

    def __init__(self):
        super().__init__()
        self.inner = tiny_model("llama")

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)

    def forward(self, input_ids=None, memory=None, **options):
        known = {name: value for name, value in options.items() if name not in CACHE_NAMES}
        return self.inner(input_ids=input_ids, **{CACHE: memory}, **known)


def test_an_error_that_a_newer_release_may_have_caused_names_it(installed):
    with pytest.raises(BackendError) as before:
        HfTarget(Renamed())
    assert "newer than" not in str(before.value)
    installed(NEXT)
    with pytest.raises(BackendError, match=f"transformers {NEXT} is newer than {NEWEST_TESTED}") as after:
        HfTarget(Renamed())
    assert str(after.value).count("newer than") == 1
    model = tiny_model("llama")
    with pytest.raises(BackendError, match=r"is given memory.*newer than"):
        read_request(torch.tensor([[1, 2]]), model.generation_config, {"memory": object()})


def test_what_a_newer_release_raises_itself_gets_a_note(installed):
    installed(NEXT)
    with pytest.raises(AttributeError) as raised:
        read_request(torch.tensor([[1, 2]]), object(), {})
    assert any(NEXT in note for note in raised.value.__notes__)
