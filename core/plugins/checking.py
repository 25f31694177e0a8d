"""What a class returned by a hook must be like before it may enter the catalogue."""

from __future__ import annotations

import re
from typing import Literal, TypeVar, get_args, get_origin

from paceline.core.blame import shown, words
from paceline.core.config.blocks import BackendConfig, PolicyConfig, Strict

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_ROLES = frozenset({"target", "draft"})
_Block = TypeVar("_Block", bound=Strict)


def check_policy_class(found: object) -> tuple[str, type[PolicyConfig]]:
    """Return the name and the class of a policy configuration.

    Raises:
        TypeError: It is not a subclass of `PolicyConfig` with its own name and `build`.
    """
    cls = _complete(found, PolicyConfig)
    _overrides(cls, PolicyConfig, "build")
    return _name(cls, "name"), cls


def check_backend_class(found: object) -> tuple[str, type[BackendConfig]]:
    """Return the name and the class of a backend configuration.

    Raises:
        TypeError: It is not a subclass of `BackendConfig` with its own name, roles, and the factories of its roles.
    """
    cls = _complete(found, BackendConfig)
    if not cls.roles or not cls.roles <= _ROLES:
        raise TypeError(
            f"{cls.__qualname__}.roles is {set(cls.roles) or '{}'}; it must hold 'target', 'draft' or both"
        )
    for role in sorted(cls.roles):
        _overrides(cls, BackendConfig, f"build_{role}")
    return _name(cls, "backend"), cls


def _complete(found: object, base: type[_Block]) -> type[_Block]:
    """Return `found` as a subclass of `base` whose annotations can all be resolved."""
    if not isinstance(found, type) or not issubclass(found, base) or found is base:
        raise TypeError(f"{shown(found)} is not a subclass of {base.__name__}")
    try:
        # Names imported under TYPE_CHECKING only leave a model that fails at its first use; better here than there.
        found.model_rebuild()
    except Exception as error:
        raise TypeError(
            f"{found.__qualname__} has an annotation that cannot be resolved: {words(error)}"
        ) from error
    return found


def _overrides(cls: type, base: type, method: str) -> None:
    if getattr(cls, method) is getattr(base, method):
        raise TypeError(f"{cls.__qualname__} does not override {method}()")


def _name(cls: type[Strict], field: str) -> str:
    """Return the one value of the Literal that names the block."""
    info = cls.model_fields[field]
    choices = get_args(info.annotation) if get_origin(info.annotation) is Literal else ()
    wanted = f'{cls.__qualname__} needs `{field}: Literal["x"] = "x"`'
    if len(choices) != 1 or not isinstance(choices[0], str):
        raise TypeError(f"{wanted}; the annotation is {info.annotation!r}")
    if info.default != choices[0]:
        raise TypeError(f"{wanted}; the default is {info.default!r}")
    if not _NAME.fullmatch(choices[0]):
        raise TypeError(
            f"{cls.__qualname__} is named {choices[0]!r}; a name has letters, digits and _ . - only"
        )
    return choices[0]
