"""Loading plugins one by one, so that a broken one breaks nothing but itself."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, NamedTuple

import pluggy

from paceline.core.errors import PluginError, error_text, short_repr
from paceline.core.log import log
from paceline.core.plugins import hooks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

DISABLE = "PACELINE_DISABLE_PLUGINS"
"""Environment variable: entry points, distributions, policies or backends that are left out, separated by commas."""

ONLY = "PACELINE_PLUGINS"
"""Environment variable: the only entry points or distributions that are loaded beside what paceline brings itself,
separated by commas; "none" stands for no other."""

OURS = "paceline"
"""The distribution that brings the built-in plugins, which `ONLY` never switches off."""

TRACE = "PACELINE_TRACE_PLUGINS"
"""Environment variable: "1" logs every hook call at debug level."""


@dataclass(frozen=True, slots=True)
class Provider:
    """The origin of a plugin.

    Attributes:
        entry_point: Name of the entry point; for a plugin given in Python, of the module.
        distribution: Name of the installed distribution; the same as `entry_point` when there is none.
        version: Version of the distribution, or "" when there is none.
        given: Whether the plugin was given in Python.
    """

    entry_point: str
    distribution: str
    version: str
    given: bool = False

    def __str__(self) -> str:
        """Return the distribution and its version, as messages name a provider."""
        return f"{self.distribution} {self.version}".strip()


class Broken(NamedTuple):
    """A plugin, or a part of one, that could not be used.

    Attributes:
        entry_point: Name of the entry point.
        distribution: Name of the distribution that declares it.
        error: What went wrong, in one line.
    """

    entry_point: str
    distribution: str
    error: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """The result of loading: live plugins by provider, broken ones, and those switched off."""

    manager: pluggy.PluginManager
    plugins: tuple[tuple[Provider, object], ...]
    broken: tuple[Broken, ...]
    disabled: tuple[Provider, ...]
    unwanted: frozenset[str] = frozenset()
    """Names that `DISABLE` lists, of policies and backends among others."""

    def call(self, hook: str, plugin: object) -> object:
        """Call one hook of one plugin alone.

        Returns:
            What the plugin returned; an empty tuple if it does not implement the hook.

        Raises:
            TypeError: The hook returned None.
            Exception: Whatever the plugin raises.
        """
        implemented = {
            implementation.plugin for implementation in getattr(self.manager.hook, hook).get_hookimpls()
        }
        if plugin not in implemented:
            return ()
        results = self.manager.subset_hook_caller(hook, implemented - {plugin})()
        if not results:
            raise TypeError(f"{hook}() returned None; it must return the classes it provides")
        return results[0]


def load_plugins(
    extra: Sequence[object] = (), *, installed: bool = True, environ: Mapping[str, str] | None = None
) -> Loaded:
    """Load the plugins of the entry-point group "paceline" if `installed`, and `extra` modules or objects.

    A plugin that cannot be imported, implements a hook that does not exist, or was made for another version of the
    interface is listed in `Loaded.broken`. `environ` stands in for `os.environ`.
    """
    environ = os.environ if environ is None else environ
    unwanted, named = _names(environ.get(DISABLE, "")), _names(environ.get(ONLY, ""))
    missing = named - {"none"}
    manager = pluggy.PluginManager(hooks.PROJECT)
    manager.add_hookspecs(hooks)
    if environ.get(TRACE) == "1":
        _trace(manager)
    plugins: list[tuple[Provider, object]] = []
    broken: list[Broken] = []
    disabled: list[Provider] = []
    for provider, load in _candidates(extra, installed=installed):
        names = {provider.entry_point, provider.distribution, str(provider)}
        missing -= names
        left_out = named and not provider.given and provider.distribution != OURS and not named & names
        if unwanted & names or left_out:
            disabled.append(provider)
            continue
        try:
            plugin = load()
            _check_interface(plugin)
            _register(manager, plugin, f"{provider.distribution}:{provider.entry_point}")
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a plugin raises breaks nothing but itself
            broken.append(Broken(provider.entry_point, provider.distribution, error_line(error)))
        else:
            plugins.append((provider, plugin))
    if installed:
        broken += [
            Broken(name, name, f"{ONLY} names it, and it is not installed") for name in sorted(missing)
        ]
    return Loaded(manager, tuple(plugins), tuple(broken), tuple(disabled), frozenset(unwanted))


def _names(value: str) -> set[str]:
    return {name.strip() for name in value.split(",")} - {""}


def _check_interface(plugin: object) -> None:
    """Refuse a plugin that was made for another version of the interface.

    Raises:
        PluginError: Names both versions.
    """
    declared: object = getattr(plugin, hooks.DECLARED, 1)
    if declared != hooks.INTERFACE or isinstance(declared, bool):
        raise PluginError(
            f"it was made for version {short_repr(declared)} of the plugin interface, and this paceline has version "
            f"{hooks.INTERFACE}; install a version of the plugin, or of paceline, that fits the other"
        )


def error_line(error: BaseException) -> str:
    """Return an error as one line: its type and its message."""
    return f"{type(error).__name__}: {' '.join(error_text(error).split())}".rstrip(": ")


def _candidates(
    extra: Sequence[object], *, installed: bool
) -> Iterable[tuple[Provider, Callable[[], object]]]:
    """Yield each provider with a function that imports its plugin; in the order of names, `extra` last."""
    points = entry_points(group=hooks.PROJECT) if installed else ()
    ordered = sorted(points, key=lambda point: (_distribution(point), point.name))
    for point in ordered:
        version = point.dist.version if point.dist is not None else ""
        yield Provider(point.name, _distribution(point), version), point.load
    for plugin in extra:
        name = str(getattr(plugin, "__name__", type(plugin).__name__))
        yield Provider(name, name, "", given=True), lambda plugin=plugin: plugin  # type: ignore[misc]


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.name


def _register(manager: pluggy.PluginManager, plugin: object, name: str) -> None:
    """Register a plugin, and take it out again if a hook of it is unknown or does not fit its specification."""
    if manager.has_plugin(name) or manager.is_registered(plugin):
        raise ValueError(f"plugin {name!r} is already loaded")
    try:
        manager.register(plugin, name)
        manager.check_pending()
    except BaseException:
        # Before pluggy 1.7 a plugin that was refused by `register` stays registered by half.
        if manager.get_plugin(name) is not None:
            manager.unregister(plugin)
        raise


def _trace(manager: pluggy.PluginManager) -> None:
    def before(hook: str, implementations: Sequence[pluggy.HookImpl], arguments: Mapping[str, Any]) -> None:
        names = [implementation.plugin_name for implementation in implementations]
        log.debug("hook called", hook=hook, plugins=names, arguments=dict(arguments))

    def after(
        outcome: pluggy.Result[Any],
        hook: str,
        implementations: Sequence[pluggy.HookImpl],
        arguments: Mapping[str, Any],
    ) -> None:
        del implementations, arguments
        if outcome.exception is not None:
            log.debug("hook failed", hook=hook, error=error_line(outcome.exception))
        else:
            log.debug("hook returned", hook=hook, result=outcome.get_result())

    manager.add_hookcall_monitoring(before, after)
