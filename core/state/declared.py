"""State that is declared: dataclass fields that are saved, checked and merged by what their annotations say.

    rate: float                         saved, and read back only if it is a finite number
    counts: Summed[list[Amount]]        saved, and added up between replicas
    gammas: Fixed[tuple[int, ...]]      saved, and refused by a policy whose own value differs
    size: Unsaved[int]                  an option, or scratch space, of the methods of a state

Annotations may bound values as in pydantic, `Annotated[int, Field(ge=1)]`. Values may be numbers, texts, truth values,
`Random`, other states, and lists, tuples, deques, sets and dicts with keys of text. A list keeps its length unless it
is empty, and a dict its keys; a deque may have any length, and a `defaultdict` any keys, with items as its factory
makes them.
"""

from __future__ import annotations

import copy
import json
import math
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from functools import cached_property
from random import Random
from typing import Annotated, Any, TypeVar, get_args, get_type_hints
from urllib.parse import quote, unquote

from pydantic import Field, TypeAdapter, ValidationError

T = TypeVar("T")
MAX_AMOUNT = 10**12
"""No count of rounds or tokens, and no time in seconds, gets there; the arithmetic of policies stays exact below."""

Count = Annotated[int, Field(ge=0, le=MAX_AMOUNT)]
"""A whole number of rounds or tokens."""

Amount = Annotated[float, Field(ge=0, le=MAX_AMOUNT)]
"""A count that fades, or a time in seconds."""

Share = Annotated[float, Field(ge=0, le=1)]
"""A number from 0 to 1."""


class FieldKind(Enum):
    """Treatment of a field when its state is saved and merged."""

    KEPT = "saved"
    SUMMED = "saved and added up"
    FIXED = "saved and compared"
    UNSAVED = "not saved"


Summed = Annotated[T, FieldKind.SUMMED]
"""A field of numbers that are never negative and add up between replicas; states in it say which of theirs do."""

Fixed = Annotated[T, FieldKind.FIXED]
"""A field that must have the same value wherever the state is read."""

Unsaved = Annotated[T, FieldKind.UNSAVED]
"""A field that is neither saved nor merged: an option, or scratch space, of the methods of the state."""


@dataclass(slots=True)
class PolicyState:
    """Base of the dataclasses that hold what a policy, or a part of one, has learnt."""

    def check(self) -> None:
        """Check what no annotation can say; called on a copy, after values were read or merged.

        Raises:
            ValueError: The values do not fit each other or the settings.
        """

    def statistics(self) -> Iterator[tuple[tuple[str, ...], float]]:
        """Yield the numbers that add up between replicas, each with its path of names.

        A state with one `Summed` field leaves out the name of that.
        """
        names = _summed(self)
        for name in names:
            yield from _statistics(getattr(self, name), (name,) if len(names) > 1 else ())

    def add_statistic(self, path: Sequence[str], amount: float) -> None:
        """Add to the number at a path that `statistics` yields, or will yield once something was counted there.

        Raises:
            LookupError: No number at this path adds up.
        """
        names = _summed(self)
        name, *rest = path if len(names) > 1 and path else (*names, *path)
        if name not in names:
            raise LookupError(name)
        setattr(self, name, _added(getattr(self, name), rest, amount))


S = TypeVar("S", bound=PolicyState)


def save_fields(value: Any) -> Any:
    """Return a state, or a value of one, as JSON-able values."""
    match value:
        case PolicyState():
            return {item.name: save_fields(getattr(value, item.name)) for item in _saved(value)}
        case dict():
            return {key: save_fields(item) for key, item in value.items()}
        case list() | tuple() | deque():
            return [save_fields(item) for item in value]
        case set() | frozenset():
            return sorted(value)
        case Random():
            kind, words, spare = value.getstate()
            return [kind, list(words), spare]
        case _:
            return value


def load_fields(template: S, saved: object, where: str = "") -> S:
    """Return a copy of a state with saved values.

    Args:
        template: A state whose settings, lengths and keys are the right ones.
        saved: What `save_fields` wrote.
        where: The path to it, for messages.

    Raises:
        ValueError: It is damaged, or of other options.
    """
    if not isinstance(saved, Mapping):
        raise _damaged(where, saved, "not a mapping")
    state = copy.copy(template)
    for item in _saved(template):
        path = f"{where}.{item.name}" if where else item.name
        if item.name not in saved:
            raise ValueError(f"the saved state is damaged: it has no {path}")
        own, value = getattr(template, item.name), saved[item.name]
        if item.role is FieldKind.FIXED and save_fields(own) != value:
            raise ValueError(
                f"the saved state is of other options: its {path} is {value!r}, that of this policy "
                f"{save_fields(own)!r}; delete the saved state to start afresh"
            )
        if isinstance(own, Random) or Random in get_args(item.hint):
            value = _random(own, value, path)
        else:
            value = _restored(own, value, path, item)
        setattr(state, item.name, value)
    state.check()
    return state


def add_statistics(state: S, statistics: Mapping[str, float]) -> S:
    """Return a copy of a state to which statistics were added.

    Raises:
        ValueError: A key or a number is not one that `statistics_of` returns for such a state.
    """
    state = copy.deepcopy(state)
    for key, amount in statistics.items():
        if isinstance(amount, bool) or not isinstance(amount, int | float) or not 0 <= amount <= MAX_AMOUNT:
            raise ValueError(f"the statistic {key!r} is {amount!r}, not a number from 0 to {MAX_AMOUNT}")
        try:
            state.add_statistic([unquote(name) for name in key.split("/")], amount)
        except LookupError:
            raise ValueError(f"{key!r} is no statistic of this policy with these options") from None
    _check(state)
    return state


def statistics_of(state: PolicyState) -> dict[str, float]:
    """Return the numbers of a state that add up and are not 0, by their paths."""
    return {
        "/".join(quote(name, safe=" ") for name in path): amount
        for path, amount in state.statistics()
        if amount
    }


def without_statistics(state: S) -> S:
    """Return a copy of a state whose numbers that add up are 0."""
    state = copy.copy(state)
    for name in _summed(state):
        setattr(state, name, _zero(getattr(state, name)))
    return state


@dataclass(frozen=True)
class _Declared:
    """A declared field; `hint` is its annotation."""

    name: str
    role: FieldKind
    hint: Any

    @cached_property
    def adapter(self) -> TypeAdapter[Any]:
        """Read the field by its annotation; made when a state is read, which most processes never do."""
        return TypeAdapter(self.hint)


_DECLARED: dict[type[PolicyState], tuple[_Declared, ...]] = {}


def _fields(state: Any) -> tuple[_Declared, ...]:
    kind = type(state)
    if kind not in _DECLARED:
        if "__dataclass_fields__" not in vars(kind):
            raise TypeError(f"{kind.__name__} is a PolicyState and no dataclass; decorate it with @dataclass")
        hints = get_type_hints(kind, include_extras=True)
        _DECLARED[kind] = tuple(
            _Declared(field.name, _role(hints[field.name]), hints[field.name]) for field in fields(kind)
        )
    return _DECLARED[kind]


def _role(hint: Any) -> FieldKind:
    marks = getattr(hint, "__metadata__", ())
    return next((mark for mark in marks if isinstance(mark, FieldKind)), FieldKind.KEPT)


def _summed(state: Any) -> list[str]:
    return [item.name for item in _fields(state) if item.role is FieldKind.SUMMED]


def _saved(state: Any) -> list[_Declared]:
    return [item for item in _fields(state) if item.role is not FieldKind.UNSAVED]


def _damaged(where: str, value: object, problem: str) -> ValueError:
    text = repr(value)
    return ValueError(
        f"the saved state is damaged: {where} is {text if len(text) < 80 else text[:77] + '...'}; {problem}"
    )


def _restored(own: Any, value: Any, where: str, item: _Declared) -> Any:
    if isinstance(own, PolicyState):
        return load_fields(own, value, where)
    if isinstance(own, list) and own and isinstance(own[0], PolicyState):
        if not isinstance(value, list) or len(value) != len(own):
            raise _damaged(where, value, f"not a list of {len(own)}")
        return [
            load_fields(mine, item, f"{where}.{i}")
            for i, (mine, item) in enumerate(zip(own, value, strict=True))
        ]
    make: Any = own.default_factory if isinstance(own, defaultdict) else None
    if make is not None and isinstance(make(), PolicyState):
        if not isinstance(value, Mapping):
            raise _damaged(where, value, "not a mapping")
        return defaultdict(
            make, {str(key): load_fields(make(), state, f"{where}.{key}") for key, state in value.items()}
        )
    try:
        read = item.adapter.validate_json(json.dumps(value, allow_nan=False), strict=True)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False)[0]
        raise _damaged(
            ".".join(map(str, (where, *problem["loc"]))), problem["input"], problem["msg"]
        ) from None
    except (TypeError, ValueError) as error:
        raise _damaged(where, value, str(error)) from None
    return _shaped(own, read, where)


def _shaped(own: Any, value: Any, where: str) -> Any:
    """Return a value in the kind of container, and of the length or keys, that the state at hand has in its place."""
    match own:
        case deque():
            return deque(value, own.maxlen)
        case defaultdict():
            return defaultdict(own.default_factory, value)
        case list():
            if own and len(value) != len(own):
                raise ValueError(
                    f"the saved state is of other options: {where} has {len(value)} items, not {len(own)}"
                )
            return (
                [_shaped(mine, item, where) for mine, item in zip(own, value, strict=True)] if own else value
            )
        case dict() if own.keys() != value.keys():
            raise ValueError(
                f"the saved state is of other options: {where} has the keys {sorted(value)}, not {sorted(own)}"
            )
        case _:
            return value


def _random(own: Random | None, value: object, where: str) -> Random | None:
    """Return a generator that goes on where it was saved, or None where this policy draws nothing."""
    if own is None and value is None:
        return None
    if own is None or not isinstance(value, list) or len(value) != 3 or not isinstance(value[1], list):
        raise _damaged(where, value, "not what this policy writes")
    made = Random()
    try:
        made.setstate((value[0], tuple(value[1]), value[2]))
    except (TypeError, ValueError, OverflowError) as error:
        raise _damaged(where, value, str(error)) from error
    if value[2] is not None and not (isinstance(value[2], float) and math.isfinite(value[2])):
        raise _damaged(where, value[2], "no number drawn beforehand")
    return made


def _statistics(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], float]]:
    match value:
        case PolicyState():
            yield from (((*path, *below), amount) for below, amount in value.statistics())
        case dict() | list():
            for key, item in value.items() if isinstance(value, dict) else enumerate(value):
                yield from _statistics(item, (*path, str(key)))
        case _:
            yield path, value


def _added(value: Any, path: Sequence[str], amount: float) -> Any:
    """Return a value, a container itself, after adding to the number at a path below it."""
    match value:
        case PolicyState() if path:
            value.add_statistic(path, amount)
            return value
        case dict() | list() if path:
            key: Any = path[0]
            if isinstance(value, list):
                key = int(key) if key.isdecimal() else len(value)
            value[key] = _added(value[key], path[1:], amount)
            return value
        case int() | float() if not path:
            return value + amount
        case _:
            raise LookupError(path)


def _check(value: Any) -> None:
    """Check a state and those inside it that were merged."""
    match value:
        case PolicyState():
            for name in _summed(value):
                _check(getattr(value, name))
            value.check()
        case dict() | list():
            for item in value.values() if isinstance(value, dict) else value:
                _check(item)


def _zero(value: Any) -> Any:
    match value:
        case PolicyState():
            return without_statistics(value)
        case defaultdict():
            return defaultdict(value.default_factory)
        case dict():
            return {key: _zero(item) for key, item in value.items()}
        case list():
            return [_zero(item) for item in value]
        case _:
            return type(value)()
