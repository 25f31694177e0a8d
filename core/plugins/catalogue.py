"""The catalogue: every policy and backend that is installed, by name, with its provider, and what builds them.

Nothing is cached here. Loading takes milliseconds; whoever needs a catalogue twice passes it on.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Generic, Literal, TypeVar, get_args, get_origin

from pydantic import ValidationError

from paceline.core.config.blocks import BackendConfig, PolicyConfig, Role, Strict
from paceline.core.errors import INTERRUPTS, PacelineError, PluginError, describe, error_text, short_repr
from paceline.core.guards.policy import check_members
from paceline.core.plugins.loading import Broken, Loaded, Provider, error_line, load_plugins

if TYPE_CHECKING:
    from paceline.core.protocols import Draft, Policy, Target

_Block = TypeVar("_Block", bound=Strict)
C = TypeVar("C", PolicyConfig, BackendConfig)
T = TypeVar("T")

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_ROLES = frozenset({"target", "draft"})

MAX_CLASSES = 1000
"""Classes of one plugin and hook; an iterable that never ends is cut here."""


def check_policy_class(candidate: object) -> tuple[str, type[PolicyConfig]]:
    """Return the name and the class of a policy configuration.

    Raises:
        TypeError: It is not a subclass of `PolicyConfig` with its own name and `build`.
    """
    cls = _complete(candidate, PolicyConfig)
    _overrides(cls, PolicyConfig, "build")
    return _name(cls, "name"), cls


def check_backend_class(candidate: object) -> tuple[str, type[BackendConfig]]:
    """Return the name and the class of a backend configuration.

    Raises:
        TypeError: It is not a subclass of `BackendConfig` with its own name, roles, and the factories of its roles.
    """
    cls = _complete(candidate, BackendConfig)
    if not cls.roles or not cls.roles <= _ROLES:
        raise TypeError(
            f"{cls.__qualname__}.roles is {set(cls.roles) or '{}'}; it must hold 'target', 'draft' or both"
        )
    for role in sorted(cls.roles):
        _overrides(cls, BackendConfig, f"build_{role}")
    return _name(cls, "backend"), cls


def _complete(candidate: object, base: type[_Block]) -> type[_Block]:
    """Return `found` as a subclass of `base` whose annotations can all be resolved."""
    if not isinstance(candidate, type) or not issubclass(candidate, base) or candidate is base:
        raise TypeError(f"{short_repr(candidate)} is not a subclass of {base.__name__}")
    try:
        # Names imported under TYPE_CHECKING only leave a model that fails at its first use; better here than there.
        candidate.model_rebuild()
    except Exception as error:
        raise TypeError(
            f"{candidate.__qualname__} has an annotation that cannot be resolved: {error_text(error)}"
        ) from error
    return candidate


def _overrides(cls: type, base: type, method: str) -> None:
    if getattr(cls, method) is getattr(base, method):
        raise TypeError(f"{cls.__qualname__} does not override {method}()")


def _name(cls: type[Strict], field: str) -> str:
    """Return the one value of the Literal that names the block."""
    info = cls.model_fields[field]
    choices = get_args(info.annotation) if get_origin(info.annotation) is Literal else ()
    expected = f'{cls.__qualname__} needs `{field}: Literal["x"] = "x"`'
    if len(choices) != 1 or not isinstance(choices[0], str):
        raise TypeError(f"{expected}; the annotation is {info.annotation!r}")
    if info.default != choices[0]:
        raise TypeError(f"{expected}; the default is {info.default!r}")
    if not _NAME.fullmatch(choices[0]):
        raise TypeError(
            f"{cls.__qualname__} is named {choices[0]!r}; a name has letters, digits and _ . - only"
        )
    return choices[0]


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
    """Policies and backends that are installed. Made by `load`; the mappings are sorted by name.

    Attributes:
        policies, backends: Usable entries by name.
        broken: Plugins, or parts of plugins, that could not be used.
        disabled: Plugins, policies and backends switched off through the environment.
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
        disabled = list(loaded.disabled)
        for entries in (policies, backends):
            for name in loaded.unwanted & entries.keys():
                entry = entries.pop(name)
                disabled.append(Provider(name, entry.distribution, entry.version))
        return cls(policies, backends, tuple(broken), tuple(disabled), policy_clashes, backend_clashes)

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

    def block_for(self, model: str) -> BackendConfig | None:
        """Return the block of the first backend that takes a model for one of its kind, None where none does.

        Raises:
            PluginError: `for_model` raised something that is no error of paceline's.
        """
        for name, entry in self.backends.items():
            try:
                block = entry.config.for_model(model)
            except (*INTERRUPTS, PacelineError):
                raise
            except BaseException as error:
                raise PluginError(
                    f"backend {name!r} of {entry.provider}: for_model() raised {short_repr(error)}"
                ) from error
            if block is not None:
                return block
        return None

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
    candidates: dict[str, list[Entry[C]]] = {}
    for provider, plugin in loaded.plugins:
        try:
            classes = _listed(hook, loaded.call(hook, plugin))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a plugin raises breaks nothing but itself
            broken.append(Broken(provider.entry_point, provider.distribution, error_line(error)))
            continue
        for item in classes:
            try:
                name, config = check(item)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - a class may raise what it likes when looked at
                broken.append(Broken(provider.entry_point, provider.distribution, error_line(error)))
                continue
            others = candidates.setdefault(name, [])
            if all(other.config is not config for other in others):
                others.append(Entry(config, provider.distribution, provider.version, provider.entry_point))
    names = sorted(candidates)
    entries = {name: candidates[name][0] for name in names if len(candidates[name]) == 1}
    return entries, {name: tuple(candidates[name]) for name in names if len(candidates[name]) > 1}


def _listed(hook: str, result: object) -> list[object]:
    """Return what a hook returned as a list; a lazy iterable runs here, inside the caller's `try`."""
    if isinstance(result, type) or not isinstance(result, Iterable):
        raise TypeError(f"{hook}() returned {short_repr(result)}; it must return a list of classes")
    classes = list(islice(result, MAX_CLASSES + 1))
    if len(classes) > MAX_CLASSES:
        raise TypeError(f"{hook}() returned more than {MAX_CLASSES} classes")
    return classes


def build_policy(config: PolicyConfig, seed: int = 0) -> Policy:
    """Return a fresh policy.

    Raises:
        PluginError: `build` raised something that is no error of paceline's, or returned None.
        ContractError: The policy lacks what it must have.
    """
    policy = _made(f"policy {config.name!r}", config, "build", lambda: config.build(seed))
    check_members(policy)
    return policy


def failing_policies(catalogue: Catalogue) -> tuple[Broken, ...]:
    """Build each policy that needs no options; return what is wrong with those that fail or lack a member."""
    failing = []
    for entry in catalogue.policies.values():
        if any(field.is_required() for field in entry.config.model_fields.values()):
            continue
        try:
            build_policy(entry.config.model_validate({}))
        except (PacelineError, ValidationError) as error:
            failing.append(Broken(entry.entry_point, entry.distribution, error_line(error)))
    return tuple(failing)


def build_target(config: BackendConfig) -> Target:
    """Return a target, its model loaded.

    Raises:
        BackendError: The model cannot be loaded.
        PluginError: `build_target` raised something that is no error of paceline's, or returned None.
    """
    return _made(f"backend {config.backend!r}", config, "build_target", config.build_target)


def build_draft(config: BackendConfig, target: Target) -> Draft:
    """Return a draft for a target, its model loaded.

    Raises:
        BackendError: The model cannot be loaded, or does not fit the target.
        PluginError: `build_draft` raised something that is no error of paceline's, or returned None.
    """
    return _made(f"backend {config.backend!r}", config, "build_draft", lambda: config.build_draft(target))


def _made(what: str, config: object, method: str, make: Callable[[], T]) -> T:
    try:
        made = make()
    except (*INTERRUPTS, PacelineError):
        raise
    except BaseException as error:
        raise PluginError(f"{what} of {describe(config)}: {method}() raised {short_repr(error)}") from error
    if made is None:
        raise PluginError(f"{what} of {describe(config)}: {method}() returned None")
    return made
