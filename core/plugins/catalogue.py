"""The catalogue: every policy and backend that is installed, by name, with its provider.

Nothing is cached here. Loading takes milliseconds; whoever needs a catalogue twice passes it on.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, TypeVar

from paceline.core.blame import shown
from paceline.core.config.blocks import BackendConfig, PolicyConfig, Role
from paceline.core.errors import PluginError
from paceline.core.plugins.checking import check_backend_class, check_policy_class
from paceline.core.plugins.loading import Broken, Loaded, Provider, describe, load_plugins

MOST = 1000
"""Classes of one plugin and hook; an iterable that never ends is cut here."""

C = TypeVar("C", PolicyConfig, BackendConfig)


@dataclass(frozen=True, slots=True)
class Entry(Generic[C]):
    """One installed policy or backend.

    Attributes:
        config: Its configuration class, which can build it.
        distribution, version: The distribution that provides it.
        entry_point: The entry point through which it was found.
    """

    config: type[C]
    distribution: str
    version: str
    entry_point: str

    @property
    def provider(self) -> str:
        """Distribution and version, as messages name them."""
        return f"{self.distribution} {self.version}".strip()

    @property
    def summary(self) -> str:
        """The first line of the configuration class's docstring."""
        return (self.config.__doc__ or "").strip().partition("\n")[0]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What is installed. Made by `load`; the mappings are sorted by name.

    Attributes:
        policies, backends: Usable entries by name.
        broken: Plugins, or parts of plugins, that could not be used.
        disabled: Plugins switched off through the environment.
        policy_clashes, backend_clashes: Names provided more than once, hence usable by nobody.
    """

    policies: Mapping[str, Entry[PolicyConfig]]
    backends: Mapping[str, Entry[BackendConfig]]
    broken: tuple[Broken, ...] = ()
    disabled: tuple[Provider, ...] = ()
    policy_clashes: Mapping[str, tuple[Entry[PolicyConfig], ...]] = field(default_factory=dict)
    backend_clashes: Mapping[str, tuple[Entry[BackendConfig], ...]] = field(default_factory=dict)

    @classmethod
    def load(
        cls, extra: Sequence[object] = (), *, installed: bool = True, environ: Mapping[str, str] | None = None
    ) -> Catalogue:
        """Load plugins; one that is broken never raises here, it is listed.

        Args:
            extra: Plugins given as modules or objects.
            installed: Whether to load what is installed, the built-in plugins among them.
            environ: Stands in for `os.environ`.
        """
        loaded = load_plugins(extra, installed=installed, environ=environ)
        broken = list(loaded.broken)
        policies, policy_clashes = _collect(loaded, "register_policies", check_policy_class, broken)
        backends, backend_clashes = _collect(loaded, "register_backends", check_backend_class, broken)
        return cls(policies, backends, tuple(broken), loaded.disabled, policy_clashes, backend_clashes)

    def policy(self, name: str) -> Entry[PolicyConfig]:
        """Return the policy of this name.

        Raises:
            PluginError: There is none, or two plugins provide it; the message says what to do.
        """
        return self._find("policy", name, self.policies, self.policy_clashes)

    def backend(self, name: str) -> Entry[BackendConfig]:
        """Return the backend of this name.

        Raises:
            PluginError: There is none, or two plugins provide it; the message says what to do.
        """
        return self._find("backend", name, self.backends, self.backend_clashes)

    def playing(self, role: Role) -> tuple[str, ...]:
        """Return the names of the backends that can play a role."""
        return tuple(name for name, entry in self.backends.items() if role in entry.config.roles)

    def _find(
        self,
        kind: str,
        name: str,
        entries: Mapping[str, Entry[C]],
        clashes: Mapping[str, tuple[Entry[C], ...]],
    ) -> Entry[C]:
        if name in entries:
            return entries[name]
        if name in clashes:
            providers = [f"{entry.provider} ({entry.entry_point})" for entry in clashes[name]]
            raise PluginError(
                f"{kind} {name!r} is provided by {' and by '.join(providers)}; uninstall all but one, or list the"
                " others in PACELINE_DISABLE_PLUGINS"
            )
        near = difflib.get_close_matches(name, entries, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ";"
        message = f"no {kind} named {name!r}{hint} installed: {', '.join(entries) or 'none'}"
        raise PluginError(message + self._suspects())

    def _suspects(self) -> str:
        """Name the plugins that might have provided what is missing."""
        failed = [
            f"; plugin {bad.entry_point!r} ({bad.distribution}) failed and may be what provides it: {bad.error}"
            for bad in self.broken
        ]
        off = [
            f"; plugin {provider.entry_point!r} ({provider.distribution}) is off through PACELINE_DISABLE_PLUGINS or"
            " PACELINE_PLUGINS"
            for provider in self.disabled
        ]
        return "".join(failed + off)


def _collect(
    loaded: Loaded, hook: str, check: Callable[[object], tuple[str, type[C]]], broken: list[Broken]
) -> tuple[dict[str, Entry[C]], dict[str, tuple[Entry[C], ...]]]:
    """Call one hook of every plugin; return the entries by name, and those whose name is taken twice."""
    found: dict[str, list[Entry[C]]] = {}
    for provider, plugin in loaded.plugins:
        try:
            classes = _listed(hook, loaded.call(hook, plugin))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a plugin raises breaks nothing but itself
            broken.append(Broken(provider.entry_point, provider.distribution, describe(error)))
            continue
        for item in classes:
            try:
                name, config = check(item)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - a class may raise what it likes when looked at
                broken.append(Broken(provider.entry_point, provider.distribution, describe(error)))
                continue
            others = found.setdefault(name, [])
            if all(other.config is not config for other in others):
                others.append(Entry(config, provider.distribution, provider.version, provider.entry_point))
    names = sorted(found)
    entries = {name: found[name][0] for name in names if len(found[name]) == 1}
    return entries, {name: tuple(found[name]) for name in names if len(found[name]) > 1}


def _listed(hook: str, result: object) -> list[object]:
    """Return what a hook returned as a list; a lazy iterable runs here, inside the caller's `try`."""
    if isinstance(result, type) or not isinstance(result, Iterable):
        raise TypeError(f"{hook}() returned {shown(result)}; it must return a list of classes")
    classes = list(islice(result, MOST + 1))
    if len(classes) > MOST:
        raise TypeError(f"{hook}() returned more than {MOST} classes")
    return classes
