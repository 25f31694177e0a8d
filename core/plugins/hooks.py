"""The two hooks, used by the built-in plugins exactly as by third parties.

A plugin is a module (or any object) named by an entry point of the group "paceline". It implements the hooks it
needs, marked with `impl`, and says which version of the interface it was made for:

    from paceline.core.plugins.hooks import impl

    PACELINE_INTERFACE = 1

    @impl
    def register_policies():
        from my_package.coin import CoinConfig

        return [CoinConfig]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pluggy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from paceline.core.config.blocks import BackendConfig, PolicyConfig

PROJECT: Final = "paceline"
"""The name of the pluggy project and of the entry-point group."""

INTERFACE: Final = 1
"""The version of what plugins and paceline expect of each other: hooks, configuration classes, protocols.

A plugin says which one it was made for by a number in its module, `PACELINE_INTERFACE = 1`; without, it is 1. One that
was made for another is refused. Raised by what breaks plugins, never by what only adds to them.
"""

DECLARED: Final = "PACELINE_INTERFACE"
"""The name in a plugin's module that says which interface it was made for."""

hookspec = pluggy.HookspecMarker(PROJECT)
impl = pluggy.HookimplMarker(PROJECT)


@hookspec
def register_policies() -> Iterable[type[PolicyConfig]]:
    """Return the configuration class of each policy this plugin provides.

    Called: when a catalogue is made, which is before a configuration is read; never while tokens are produced.
    By whom: `Catalogue.load`, alone, without arguments.
    How often: once for each catalogue, so possibly several times in a process; return the same classes each time.
    Returns: subclasses of `PolicyConfig`. Each has `name: Literal["x"] = "x"`, fields for its options, and its
        own `build(seed)`. An empty list is fine.
    What happens to it: the class appears under its name in `paceline plugins`, in the JSON schema, and wherever
        a configuration says `name: x`; `build` is called when a run starts. A class that is not as described is
        refused and listed as broken, and the plugin's other classes stay. A name that two plugins provide is
        refused for both, once somebody uses it.
    Forbidden: importing torch or another heavy library, reading files, using the network, printing. Do such things
        in `build`. Raising marks the plugin as broken; it never stops other plugins.
    """
    raise NotImplementedError


@hookspec
def register_backends() -> Iterable[type[BackendConfig]]:
    """Return the configuration class of each backend this plugin provides.

    Called: when a catalogue is made, which is before a configuration is read; never while tokens are produced.
    By whom: `Catalogue.load`, alone, without arguments.
    How often: once for each catalogue, so possibly several times in a process; return the same classes each time.
    Returns: subclasses of `BackendConfig`. Each has `backend: Literal["x"] = "x"`, `roles` (a frozenset with
        "target", "draft" or both), fields for its options, and its own `build_target()` / `build_draft(target)`
        as its roles say. It may have `missing()`, `check_target(run)`, `check_draft(run, target)` and
        `smallest(folder)` for `paceline doctor`. An empty list is fine.
    What happens to it: the class appears under its name in `paceline plugins`, in the JSON schema, and wherever
        a configuration says `backend: x`; the factories are called when a run starts. A class that is not as
        described is refused and listed as broken, and the plugin's other classes stay. A name that two plugins
        provide is refused for both, once somebody uses it.
    Forbidden: importing torch or another heavy library, loading models, using the network, printing. Do such things
        in the factories. Raising marks the plugin as broken; it never stops other plugins.
    """
    raise NotImplementedError
