import importlib.metadata
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from structlog.testing import capture_logs

from paceline.core.errors import PluginError
from paceline.core.plugins import hooks, loading
from paceline.core.plugins.catalogue import Catalogue


class Last(BaseException):
    """An exception that only the last resort catches."""


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
    [
        ("coins", ["dice"]),
        ("coin", ["dice"]),
        ("coins,dices", []),
        (" dices ,", ["coin"]),
        ("", ["coin", "dice"]),
    ],
)
def test_plugins_are_disabled_by_name(make: SimpleNamespace, value: str, left: list[str]) -> None:
    plugins = [make.plugin(f"{n}s", register_policies=lambda n=n: [make.policy(n)]) for n in ("coin", "dice")]
    catalogue = Catalogue.load(plugins, installed=False, environ={loading.DISABLE: value})
    assert list(catalogue.policies) == left


def test_what_the_list_of_plugins_shows_may_be_disabled_as_it_stands_there() -> None:
    everything = Catalogue.load(environ={})
    entry = everything.policies["ucbspec"]
    for shown in (entry.provider, entry.distribution, entry.entry_point, "ucbspec"):
        catalogue = Catalogue.load(environ={loading.DISABLE: shown})
        assert "ucbspec" not in catalogue.policies
        assert "auto" in catalogue.policies
        with pytest.raises(PluginError, match=r"is off through PACELINE_DISABLE"):
            catalogue.policy("ucbspec")


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


@pytest.mark.parametrize("fault", [RuntimeError("boom"), SystemExit(0), GeneratorExit(), Last("resort")])
def test_whatever_a_plugin_raises_at_import_breaks_only_itself(
    monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    class Point:
        name, dist = "ghost", None

        def load(self) -> object:
            raise fault

    points = [*importlib.metadata.entry_points(group=hooks.PROJECT), Point()]
    monkeypatch.setattr(loading, "entry_points", lambda group: points)
    catalogue = Catalogue.load(environ={})
    assert [bad.entry_point for bad in catalogue.broken if bad.entry_point == "ghost"] == ["ghost"]
    assert type(fault).__name__ in catalogue.broken[-1].error
    assert "static" in catalogue.policies


def test_an_interrupt_while_a_plugin_is_imported_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        name, dist = "ghost", None

        def load(self) -> object:
            raise KeyboardInterrupt

    monkeypatch.setattr(loading, "entry_points", lambda group: [Point()])
    with pytest.raises(KeyboardInterrupt):
        Catalogue.load(environ={})


class Distribution(NamedTuple):
    name: str
    version: str = "1.0"


class Installed(NamedTuple):
    """An entry point of another distribution."""

    name: str
    dist: Distribution
    plugin: object

    def load(self) -> object:
        return self.plugin


@pytest.mark.parametrize(
    ("value", "left"),
    [
        ("", {"coin", "dice"}),
        ("none", set()),
        ("coins", {"coin"}),
        ("paceline-dices", {"dice"}),
        ("coins, dices", {"coin", "dice"}),
    ],
)
def test_only_named_plugins_are_loaded_beside_the_built_in_ones(
    make: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, value: str, left: set[str]
) -> None:
    points = [
        Installed(
            f"{name}s",
            Distribution(f"paceline-{name}s"),
            make.plugin(f"{name}s", register_policies=lambda name=name: [make.policy(name)]),
        )
        for name in ("coin", "dice")
    ]
    ours = [
        point for point in importlib.metadata.entry_points(group=hooks.PROJECT) if "paceline." in point.name
    ]
    monkeypatch.setattr(loading, "entry_points", lambda group: [*ours, *points])
    catalogue = Catalogue.load(environ={loading.ONLY: value})
    assert left == {"coin", "dice"} & catalogue.policies.keys()
    assert "static" in catalogue.policies
    assert len(catalogue.disabled) == 2 - len(left)
    assert catalogue.broken == ()


def test_a_named_plugin_that_is_not_installed_is_said_to_be_missing() -> None:
    catalogue = Catalogue.load(environ={loading.ONLY: "paceline-unheard-of"})
    assert [bad.entry_point for bad in catalogue.broken] == ["paceline-unheard-of"]


@pytest.mark.parametrize("declared", [1, 0, 2, "1", True, None])
def test_a_plugin_for_another_version_of_the_interface_is_refused_with_both_versions(
    make: SimpleNamespace, declared: object
) -> None:
    plugin = make.plugin("coins", register_policies=lambda: [make.policy("coin")])
    setattr(plugin, hooks.DECLARED, declared)
    catalogue = Catalogue.load([plugin], installed=False, environ={})
    if declared == 1 and declared is not True:
        assert list(catalogue.policies) == ["coin"]
    else:
        [bad] = catalogue.broken
        assert f"made for version {declared!r} of the plugin interface" in bad.error
        assert f"this paceline has version {hooks.INTERFACE}" in bad.error
        assert not catalogue.policies
