import importlib.metadata
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from paceline.core.errors import PluginError
from paceline.core.plugins import hooks, loading
from paceline.core.plugins.catalogue import Catalogue


@pytest.fixture
def broken_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that an entry point is installed whose module does not exist."""
    points = list(importlib.metadata.entry_points(group=hooks.PROJECT))
    points.append(importlib.metadata.EntryPoint("ghost", "paceline_ghost.nowhere", hooks.PROJECT))
    monkeypatch.setattr(loading, "entry_points", lambda group: points)


def test_the_built_ins_are_found_through_entry_points() -> None:
    catalogue = Catalogue.load(environ={})
    entry = catalogue.policy("static")
    version = importlib.metadata.version("paceline")
    assert (entry.distribution, entry.entry_point) == ("paceline", "paceline.policies")
    assert entry.provider == f"paceline {version}"
    assert catalogue.backend("toy").entry_point == "paceline.backends"


@pytest.mark.usefixtures("broken_entry_point")
def test_a_plugin_that_cannot_be_imported_is_listed_and_suspected() -> None:
    catalogue = Catalogue.load(environ={})
    assert ("ghost", "ghost", "ModuleNotFoundError: No module named 'paceline_ghost'") in catalogue.broken
    assert "static" in catalogue.policies
    with pytest.raises(
        PluginError, match=r"plugin 'ghost' \(ghost\) failed and may be what provides it: Module"
    ):
        catalogue.policy("spooky")


@pytest.mark.usefixtures("broken_entry_point")
def test_a_disabled_plugin_is_not_even_imported() -> None:
    catalogue = Catalogue.load(environ={loading.DISABLE: "other, ghost"})
    assert catalogue.broken == ()
    assert [provider.entry_point for provider in catalogue.disabled] == ["ghost"]


@pytest.mark.parametrize(
    ("value", "left"),
    [("coins", ["dice"]), ("coins,dices", []), (" dices ,", ["coin"]), ("", ["coin", "dice"])],
)
def test_plugins_are_disabled_by_name(make: SimpleNamespace, value: str, left: list[str]) -> None:
    plugins = [make.plugin(f"{n}s", register_policies=lambda n=n: [make.policy(n)]) for n in ("coin", "dice")]
    catalogue = Catalogue.load(plugins, installed=False, environ={loading.DISABLE: value})
    assert list(catalogue.policies) == left


def test_a_distribution_is_disabled_with_all_its_plugins() -> None:
    catalogue = Catalogue.load(environ={loading.DISABLE: "paceline"})
    assert {provider.entry_point for provider in catalogue.disabled} >= {
        "paceline.policies",
        "paceline.backends",
    }
    with pytest.raises(
        PluginError, match=r"plugin 'paceline.policies' \(paceline\) is off through PACELINE_DISABLE"
    ):
        catalogue.policy("static")


def test_the_environment_is_read_by_default(make: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(loading.DISABLE, "coins")
    plugin = make.plugin("coins", register_policies=lambda: [make.policy("coin")])
    assert Catalogue.load([plugin], installed=False).policies == {}


def test_a_plugin_given_twice_is_listed_once_as_broken(make: SimpleNamespace) -> None:
    plugin = make.plugin("coins", register_policies=lambda: [make.policy("coin")])
    catalogue = Catalogue.load([plugin, plugin], installed=False)
    assert list(catalogue.policies) == ["coin"]
    assert len(catalogue.broken) == 1


def test_hook_calls_are_traced_on_request(make: SimpleNamespace) -> None:
    def fail() -> object:
        raise RuntimeError("boom")

    plugin = make.plugin("coins", register_policies=lambda: [make.policy("coin")], register_backends=fail)
    with capture_logs() as logs:
        Catalogue.load([plugin], installed=False, environ={loading.TRACE: "1"})
    events = [(entry["event"], entry["hook"], entry["log_level"]) for entry in logs]
    assert events == [
        ("hook called", "register_policies", "debug"),
        ("hook returned", "register_policies", "debug"),
        ("hook called", "register_backends", "debug"),
        ("hook failed", "register_backends", "debug"),
    ]
    assert logs[0]["plugins"] == ["coins:coins"]
    assert logs[3]["error"] == "RuntimeError: boom"


def test_hook_calls_are_not_traced_otherwise(make: SimpleNamespace) -> None:
    plugin = make.plugin("coins", register_policies=lambda: [make.policy("coin")])
    with capture_logs() as logs:
        Catalogue.load([plugin], installed=False, environ={})
    assert logs == []


@pytest.mark.parametrize("hook", [hooks.register_policies, hooks.register_backends])
def test_each_hook_says_when_by_whom_how_often_what_and_what_is_forbidden(hook: object) -> None:
    text = hook.__doc__ or ""
    for answer in ("Called:", "By whom:", "How often:", "Returns:", "What happens to it:", "Forbidden:"):
        assert answer in text
