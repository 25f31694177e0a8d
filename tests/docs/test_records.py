"""The tables of fields in docs/writing-a-policy.md are made from the records' docstrings; `make record` renews them."""

import re
from collections.abc import Iterator
from dataclasses import MISSING, fields
from inspect import getdoc
from pathlib import Path

import pytest

from paceline import Capabilities, Plan, Requirements, Round, RoundStart

PAGE = Path(__file__).resolve().parents[2] / "docs" / "writing-a-policy.md"
PLACE = re.compile(r"(<!-- fields -->\n).*(<!-- /fields -->)", re.DOTALL)
RECORDS = (RoundStart, Plan, Round, Requirements, Capabilities)
ATTRIBUTE = re.compile(r"^    (\w+(?:, \w+)*): (.*(?:\n     +.*)*)", re.MULTILINE)


def tables() -> str:
    """Return the fields of every record that a policy meets."""
    lines: list[str] = []
    for record in RECORDS:
        lines += [f"**`{record.__name__}`**: {summary(record)}", "", *rows(record), ""]
    return "\n".join(lines)


def summary(record: type) -> str:
    first = (getdoc(record) or "").partition("\n\n")[0]
    return " ".join(first.split())


def meanings(record: type) -> dict[tuple[str, ...], str]:
    """Return what a docstring says of each field; of some it says it together."""
    _, _, attributes = (getdoc(record) or "").partition("Attributes:\n")
    return {tuple(names.split(", ")): " ".join(text.split()) for names, text in ATTRIBUTE.findall(attributes)}


def rows(record: type) -> Iterator[str]:
    own = {field.name: field for field in fields(record)}
    yield "| field | type | default | meaning |"
    yield "|---|---|---|---|"
    for names, meaning in meanings(record).items():
        kinds = {str(own[name].type).replace(" | ", " or ") for name in names}
        defaults = {default(own[name]) for name in names}
        cells = (", ".join(f"`{name}`" for name in names), " ".join(f"`{kind}`" for kind in kinds), *defaults)
        yield f"| {' | '.join(cells)} | {meaning} |"


def default(field: object) -> str:
    value, factory = field.default, field.default_factory  # type: ignore[attr-defined]
    if value is MISSING and factory is MISSING:
        return ""
    value = factory() if value is MISSING else value
    if value in (frozenset(), {}):
        return "none"
    if isinstance(value, frozenset):
        return "all"
    return f"`{value!r}`" if not isinstance(value, Capabilities) else f"`{type(value).__name__}()`"


@pytest.mark.parametrize("record", RECORDS)
def test_every_field_of_a_record_is_explained(record: type) -> None:
    assert {name for names in meanings(record) for name in names} == {field.name for field in fields(record)}


def test_the_tables_are_those_of_the_records() -> None:
    match = PLACE.search(PAGE.read_text(encoding="utf-8"))
    assert match is not None
    assert match[0] == f"{match[1]}{tables()}{match[2]}", "if the records are right: make record"


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(PLACE.sub(lambda place: f"{place[1]}{tables()}{place[2]}", text), encoding="utf-8")
    print(f"wrote the tables of {PAGE.name}")  # noqa: T201 - run by hand
