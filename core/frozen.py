"""Values that cannot be changed: mappings, and dataclasses that are made quickly."""

from __future__ import annotations

from dataclasses import MISSING, fields
from functools import wraps
from inspect import Parameter, signature
from typing import Any, Never, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class FrozenDict(dict[K, V]):
    """A mapping that cannot be changed: policy, trace and caller see the same facts about each draft of a round.

    Everything that reads a dict works, copying and pickling too; everything that changes one raises TypeError.
    """

    __slots__ = ()

    def _refuse(self, *_: Any, **__: Any) -> Never:
        raise TypeError("what a round shows cannot be changed; make a copy with dict(...)")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[type[FrozenDict[K, V]], tuple[dict[K, V]]]:
        return type(self), (dict(self),)


def quick_init(cls: type[V]) -> type[V]:
    """Let a frozen dataclass with slots set its fields by their slots, which takes two thirds of the time.

    `dataclass` sets each by `object.__setattr__`, which looks the slot up by name. Records of rounds are made by the
    million.
    """
    own = cls.__init__
    scope: dict[str, Any] = {}
    parameters, body = [], []
    for attribute in fields(cls):  # type: ignore[arg-type]  # it is a dataclass
        name, value = attribute.name, attribute.name
        default = signature(own).parameters[name].default
        if default is not Parameter.empty:
            scope[f"_default_{name}"] = default
            parameters.append(f"{name}=_default_{name}")
        else:
            parameters.append(name)
        if attribute.default_factory is not MISSING:
            scope[f"_make_{name}"] = attribute.default_factory
            value = f"_make_{name}() if {name} is _default_{name} else {name}"
        scope[f"_set_{name}"] = cls.__dict__[name].__set__
        body.append(f"    _set_{name}(self, {value})")
    # As `dataclass` makes its own.
    exec("\n".join([f"def __init__(self, {', '.join(parameters)}):", *body]), scope)  # noqa: S102
    cls.__init__ = wraps(own)(scope["__init__"])  # type: ignore[method-assign]
    return cls
