"""`paceline plugins`: what is installed, from whom, and what is broken."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import typer

from paceline.cli.options import JsonOption
from paceline.core.plugins.building import lame_policies
from paceline.core.plugins.catalogue import Catalogue

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from paceline.core.config.blocks import BackendConfig, PolicyConfig
    from paceline.core.plugins.catalogue import Entry


def plugins(*, as_json: JsonOption = False) -> None:
    """List policies and backends with their providers, and plugins that are broken."""
    catalogue = Catalogue.load()
    if as_json:
        typer.echo(json.dumps(document(catalogue), indent=2))
        return
    _show(catalogue)


def document(catalogue: Catalogue) -> dict[str, Any]:
    """Return the catalogue as JSON-able values."""
    return {
        "policies": [_described(name, entry) for name, entry in catalogue.policies.items()],
        "backends": [
            {**_described(name, entry), "roles": sorted(entry.config.roles)}
            for name, entry in catalogue.backends.items()
        ],
        "broken": [bad._asdict() for bad in (*catalogue.broken, *lame_policies(catalogue))],
        "disabled": [
            {"entry_point": off.entry_point, "distribution": off.distribution} for off in catalogue.disabled
        ],
        "clashes": [
            {"kind": kind, "name": name, "providers": [entry.provider for entry in entries]}
            for kind, name, entries in _clashes(catalogue)
        ],
    }


def _described(name: str, entry: Entry[PolicyConfig] | Entry[BackendConfig]) -> dict[str, Any]:
    return {
        "name": name,
        "help": entry.summary,
        "distribution": entry.distribution,
        "version": entry.version,
        "entry_point": entry.entry_point,
        "options": [field for field in entry.config.model_fields if field not in {"name", "backend"}],
    }


def _clashes(catalogue: Catalogue) -> Iterable[tuple[str, str, Iterable[Any]]]:
    clashing: Mapping[str, Mapping[str, Iterable[Any]]] = {
        "policy": catalogue.policy_clashes,
        "backend": catalogue.backend_clashes,
    }
    for kind, names in clashing.items():
        for name, entries in names.items():
            yield kind, name, entries


def _show(catalogue: Catalogue) -> None:
    from rich.console import Console  # noqa: PLC0415 - --json does without
    from rich.table import Table  # noqa: PLC0415

    console = Console(highlight=False)
    found = document(catalogue)
    for title in ("policies", "backends"):
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in (title, *(["roles"] if title == "backends" else []), "from"):
            table.add_column(heading, no_wrap=True)
        table.add_column("")
        for row in found[title]:
            roles = [", ".join(row["roles"])] if "roles" in row else []
            table.add_row(row["name"], *roles, f"{row['distribution']} {row['version']}", row["help"])
        console.print(table)
        console.print()
    for clash in found["clashes"]:
        console.print(
            f"clash: {clash['kind']} {clash['name']} from {', '.join(clash['providers'])}", markup=False
        )
    for bad in found["broken"]:
        console.print(f"broken: {bad['entry_point']} ({bad['distribution']}): {bad['error']}", markup=False)
    for off in found["disabled"]:
        console.print(f"switched off: {off['entry_point']} ({off['distribution']})", markup=False)
