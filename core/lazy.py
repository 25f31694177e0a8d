"""Public names of a package that load on first use: what a program does not name it does not wait for."""

from __future__ import annotations

import ast
import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def lazy(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the `__getattr__` and `__dir__` of a package, for the names that it imports for type checkers alone.

    They stand once, below `if TYPE_CHECKING:`, and that is read from the package's source when one is asked for.
    """
    homes = cache(_homes)

    def load(name: str) -> Any:
        if name.startswith("__") or name not in homes(package):
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, original = homes(package)[name]
        value = getattr(import_module(module), original)
        setattr(sys.modules[package], name, value)
        return value

    return load, lambda: sorted({*vars(sys.modules[package]), *homes(package)})


def _homes(package: str) -> dict[str, tuple[str, str]]:
    """Return the module of each name, and what it is called there."""
    spec = find_spec(package)
    source = getattr(spec and spec.loader, "get_source", lambda _: None)(package)
    return {
        alias.asname or alias.name: (statement.module, alias.name)
        for block in ast.parse(source or "").body
        if isinstance(block, ast.If) and ast.unparse(block.test).endswith("TYPE_CHECKING")
        for statement in block.body
        if isinstance(statement, ast.ImportFrom) and statement.module
        for alias in statement.names
    }
