"""The public names and signatures are those on record in `public_api.txt`.

A difference is a decision: adding is for a minor version, anything else for a major one. `make record` writes the
record anew; the diff of that file then shows what was decided.
"""

import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, ForwardRef

import pydantic
import pytest

RECORD = Path(__file__).with_name("public_api.txt")
MODULES = ("paceline", "paceline.hf", "paceline.lab", "paceline.serving", "paceline.testing")


def surface() -> str:
    """Return every public name with its signature, one a line, members indented below their class."""
    lines = []
    for name in MODULES:
        module = importlib.import_module(name)
        lines.append(f"[{name}]")
        for public in sorted(module.__all__):
            lines.extend(described(public, getattr(module, public)))
        lines.append("")
    return "\n".join(lines)


def described(name: str, thing: Any) -> Iterator[str]:
    if inspect.isclass(thing):
        bases = ", ".join(base.__name__ for base in thing.__bases__ if base is not object)
        yield f"class {name}({bases})" if bases else f"class {name}"
        yield from (f"    {line}" for line in sorted(members(thing)))
    elif inspect.isfunction(thing):
        yield f"def {name}{signature(thing)}"
    else:
        yield f"{name} = {value(thing)}"


def members(cls: type) -> Iterator[str]:
    if dataclasses.is_dataclass(cls) or hasattr(cls, "_fields"):
        yield f"def __init__{signature(cls)}"
    elif issubclass(cls, pydantic.BaseModel):
        for field, info in cls.model_fields.items():
            default = "" if info.is_required() else f" = {info.get_default(call_default_factory=True)!r}"
            yield f"{field}: {cls.__annotations__.get(field, 'inherited')}{default}"
    elif "__init__" in vars(cls) and not getattr(cls, "_is_protocol", False):
        yield f"def __init__{signature(cls.__init__)}"
    for name, member in vars(cls).items():
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            yield f"property {name} -> {returned(member.fget)}"
        elif isinstance(member, classmethod):
            yield f"classmethod {name}{signature(member.__func__)}"
        elif inspect.isfunction(member):
            yield f"def {name}{signature(member)}"


class Plain(str):
    """Text that prints without quotes."""

    __slots__ = ()
    __repr__ = str.__str__


def signature(thing: Any) -> str:
    """Return a signature as a reader would type it, the same in every run."""
    found = inspect.signature(thing)
    parameters = [
        parameter.replace(annotation=typed(parameter.annotation), default=printed(parameter.default))
        for parameter in found.parameters.values()
    ]
    text = str(found.replace(parameters=parameters, return_annotation=typed(found.return_annotation)))
    return re.sub(r"<factory>|<class '([\w.]+)'>", lambda match: match[1] or "...", text)


def typed(annotation: Any) -> Any:
    if isinstance(annotation, ForwardRef):
        return Plain(annotation.__forward_arg__)
    return Plain(annotation) if isinstance(annotation, str) else annotation


def printed(default: Any) -> Any:
    return Plain(f"frozenset({sorted(default)})") if isinstance(default, frozenset) else default


def returned(getter: Any) -> str:
    return str(getter.__annotations__["return"])


def value(thing: Any) -> str:
    if isinstance(thing, frozenset):
        return str(printed(thing))
    # The values of an alias are the contract; how a marker or an annotated type prints is not.
    return str(thing).replace("typing.", "") if "Literal[" in str(thing)[:20] else type(thing).__name__


def test_public_names_and_signatures_are_as_recorded() -> None:
    assert surface() == RECORD.read_text(encoding="utf-8"), "if this is intended: make record"


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_is_listed_once_and_documented(name: str) -> None:
    module = importlib.import_module(name)
    assert len(set(module.__all__)) == len(module.__all__)
    undocumented = [
        public
        for public in module.__all__
        if (inspect.isclass(thing := getattr(module, public)) or inspect.isfunction(thing))
        and not thing.__doc__
    ]
    assert undocumented == []


def test_the_package_shows_no_stray_name() -> None:
    """A name neither listed, private nor a submodule would look public without being a promise."""
    package = importlib.import_module("paceline")
    stray = [
        name
        for name, thing in vars(package).items()
        if not name.startswith("_") and name not in package.__all__ and not isinstance(thing, ModuleType)
    ]
    assert [name for name in stray if name != "annotations"] == []


def test_an_unknown_name_is_an_attribute_error() -> None:
    package = importlib.import_module("paceline")
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = package.no_such_name
    assert re.fullmatch(r"\d+\.\d+\.\d+", package.__version__)


if __name__ == "__main__":
    RECORD.write_text(surface(), encoding="utf-8")
    print(f"wrote {RECORD.name}: {len(surface().splitlines())} lines")  # noqa: T201 - run by hand
