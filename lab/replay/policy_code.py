"""Fingerprints of the code of policies, by which a replay tells passes of the code at hand from those of other code."""

from __future__ import annotations

import ast
import hashlib
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paceline.core.config.blocks import PolicyConfig
from paceline.core.plugins.catalogue import build_policy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from paceline.core.plugins.catalogue import Catalogue

OURS = "paceline.policies"
"""The one part of paceline whose code is looked at: the rest goes by its version, which a file of results holds."""


@dataclass(slots=True)
class Fingerprints:
    """Works out fingerprints; each source is read once.

    Attributes:
        catalogue: Tells which distribution provides a policy.
    """

    catalogue: Catalogue
    _sources: dict[str, tuple[bytes, frozenset[str]]] = field(default_factory=dict)

    def of(self, config: PolicyConfig) -> str:
        """Return the fingerprint of a policy: who provides it, and a hash of the sources that it is made of.

        These are the modules of its class, of its configuration's class, of their bases and of the policies that it
        holds, and what all of these import of their own package and of paceline's policies.
        """
        configs = list(_held(config))
        providers = {
            self.catalogue.policies[held.name].provider
            for held in configs
            if held.name in self.catalogue.policies
        }
        made = [made for held in configs for made in (type(held), type(build_policy(held)))]
        followed = {cls.__module__.partition(".")[0] for cls in made} - {"paceline"}
        bases = {base.__module__ for cls in made for base in cls.__mro__ if base not in PolicyConfig.__mro__}
        left = [name for name in bases if not _foreign(name)]
        digests: dict[str, str] = {}
        while left:
            name = left.pop()
            if name not in digests:
                source, imported = self._read(name)
                digests[name] = hashlib.sha256(source).hexdigest()
                if _follows(name, followed):
                    left += [other for other in imported if _follows(other, followed)]
        whole = hashlib.sha256(repr(sorted(digests.items())).encode()).hexdigest()
        return f"{', '.join(sorted(providers))} {whole[:16]}".strip()

    def _read(self, name: str) -> tuple[bytes, frozenset[str]]:
        """Return the source of a module and the names that it imports; nothing where there is no source."""
        if name not in self._sources:
            source, imported = b"", frozenset[str]()
            with suppress(ImportError, ValueError, OSError, SyntaxError):
                spec = find_spec(name)
                if spec is not None and spec.origin is not None:
                    source = Path(spec.origin).read_bytes()
                    imported = frozenset(_imports(ast.parse(source), spec.parent or ""))
            self._sources[name] = source, imported
        return self._sources[name]


def _held(value: Any) -> Iterator[PolicyConfig]:
    """Yield a policy's configuration and those of the policies that it holds."""
    if isinstance(value, PolicyConfig):
        yield value
        for _, part in value:
            yield from _held(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _held(part)


def _foreign(name: str) -> bool:
    ours = name.startswith("paceline.") and not _within(name, OURS)
    return ours or name.partition(".")[0] in sys.stdlib_module_names


def _follows(name: str, packages: Iterable[str]) -> bool:
    return _within(name, OURS) or name.partition(".")[0] in packages


def _within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def _imports(module: ast.Module, package: str) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            # What is imported may be a module too; where it is not, no source is found.
            yield from (base, *(f"{base}.{alias.name}" for alias in node.names))
