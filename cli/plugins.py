"""`paceline plugins`: what is installed, from whom, and what is broken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from paceline.cli._options import FormatOption, JsonOption
from paceline.cli._render import Column, Format, Table, show, show_json
from paceline.core.plugins.catalogue import Catalogue, failing_policies

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from paceline.core.config.blocks import BackendConfig, PolicyConfig
    from paceline.core.plugins.catalogue import Entry


def plugins(*, form: FormatOption = Format.TEXT, as_json: JsonOption = False) -> None:
    """List policies and backends with their providers, and plugins that are broken."""
    catalogue = Catalogue.load()
    if as_json:
        show_json("plugins", document(catalogue))
    else:
        _show(document(catalogue), form)


def document(catalogue: Catalogue) -> dict[str, Any]:
    """Return the catalogue as JSON-able values."""
    return {
        "policies": [_described(name, entry) for name, entry in catalogue.policies.items()],
        "backends": [
            {**_described(name, entry), "roles": sorted(entry.config.roles)}
            for name, entry in catalogue.backends.items()
        ],
        "broken": [bad._asdict() for bad in (*catalogue.broken, *failing_policies(catalogue))],
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


def _show(listed: Mapping[str, Any], form: Format) -> None:
    tables: list[Table | str] = []
    for kind, title in (("policy", "policies"), ("backend", "backends")):
        backends = title == "backends"
        columns = (
            Column("", name="kind"),
            Column(title, name="name"),
            Column("roles" if backends else "", name="roles"),
            "from",
            Column(" ", name="help"),
        )
        table = Table(columns, names=2 + backends, prose=True)
        for row in listed[title]:
            provider = f"{row['distribution']} {row['version']}"
            table.add(kind, row["name"], ", ".join(row.get("roles", ())), provider, row["help"])
        tables += [table, ""]
    show(
        *tables,
        *(
            f"clash: {clash['kind']} {clash['name']} from {', '.join(clash['providers'])}"
            for clash in listed["clashes"]
        ),
        *(
            f"broken: {bad['entry_point']} ({bad['distribution']}): {bad['error']}"
            for bad in listed["broken"]
        ),
        *(f"switched off: {off['entry_point']} ({off['distribution']})" for off in listed["disabled"]),
        form=form,
    )
