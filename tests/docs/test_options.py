"""The tables of options in docs/configuration.md are made from the configuration classes; `make record` renews them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined

from paceline import Catalogue

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"
PLACE = re.compile(r"(<!-- options -->\n).*(<!-- /options -->)", re.DOTALL)
OURS = "paceline"


def tables() -> str:
    """Return the options of every built-in policy and backend."""
    found = Catalogue.load()
    lines: list[str] = []
    for title, key, entries in (
        ("Policies", "name", found.policies),
        ("Backends", "backend", found.backends),
    ):
        lines += [f"### {title}", ""]
        for name, entry in entries.items():
            if entry.distribution == OURS:
                lines += [f"**`{name}`**: {entry.summary}", "", *rows(entry.config, key), ""]
    return "\n".join(lines) + "\n"


def rows(config: Any, key: str) -> Iterator[str]:
    fields = {name: info for name, info in config.model_fields.items() if name != key}
    if not fields:
        yield "No options."
        return
    yield "| option | default | meaning |"
    yield "|---|---|---|"
    for name, info in fields.items():
        yield f"| `{name}` | {default(info)} | {(info.description or '').replace('|', '/')} |"


def default(info: Any) -> str:
    if info.is_required():
        return "must be given"
    value = info.get_default(call_default_factory=True)
    assert value is not PydanticUndefined
    if hasattr(value, "model_dump"):
        value = value.model_dump(mode="json")
    return f"`{json.dumps(value)}`" if not isinstance(value, str) else f"`{value}`"


def test_the_tables_are_those_of_the_configuration_classes() -> None:
    match = PLACE.search(PAGE.read_text(encoding="utf-8"))
    assert match is not None
    assert match[0] == f"{match[1]}{tables()}{match[2]}", "if the classes are right: make record"


def test_every_option_says_what_it_is() -> None:
    found = Catalogue.load()
    silent = [
        f"{name}.{field}"
        for entries, key in ((found.policies, "name"), (found.backends, "backend"))
        for name, entry in entries.items()
        for field, info in entry.config.model_fields.items()
        if field != key and not info.description
    ]
    assert silent == []


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(PLACE.sub(lambda found: f"{found[1]}{tables()}{found[2]}", text), encoding="utf-8")
    print(f"wrote the tables of {PAGE.name}")  # noqa: T201 - run by hand
