"""`paceline doctor`: what is installed, what is ready, and whether a run could start."""

from __future__ import annotations

import json
from importlib import metadata
from typing import Any

import typer

from paceline.core.config.run import RunConfig
from paceline.core.errors import ConfigError
from paceline.core.plugins.catalogue import Catalogue
from paceline.lab.bench.machine import describe, versions
from paceline.lab.cli.options import ConfigOption, JsonOption, read_config


def doctor(*, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Tell what is installed, which backends are ready, and what a run file (or none) would run.

    Exits with 0 if the run could start and with 1 if not. No model is loaded.
    """
    catalogue = Catalogue.load()
    found: dict[str, Any] = {
        "versions": versions(),
        "machine": _machine(),
        "backends": [
            {"name": name, "problems": list(entry.config.missing())}
            for name, entry in catalogue.backends.items()
        ],
        "broken_plugins": [bad._asdict() for bad in catalogue.broken],
        "run": _run(config, catalogue),
    }
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        _show(found)
    raise typer.Exit(int(bool(found["run"]["problems"])))


def _machine() -> dict[str, Any]:
    """Describe the machine; torch is loaded for it if it is installed, since it alone knows the devices."""
    try:
        metadata.version("torch")
        import torch  # noqa: F401, PLC0415
    except (metadata.PackageNotFoundError, ImportError):
        pass
    return describe()


def _run(path: Any, catalogue: Catalogue) -> dict[str, Any]:
    try:
        run: RunConfig = read_config(path, catalogue=catalogue)
    except ConfigError as error:
        return {"problems": str(error).splitlines()}
    parts = {"target": run.target, **{f"drafts.{name}": draft for name, draft in run.drafts.items()}}
    return {
        "target": run.target.backend,
        "drafts": {name: draft.backend for name, draft in run.drafts.items()},
        "policy": run.policy.name,
        "problems": [f"{where}: {problem}" for where, part in parts.items() for problem in part.missing()],
    }


def _show(found: dict[str, Any]) -> None:
    machine, run = found["machine"], found["run"]
    typer.echo("installed   " + ", ".join(f"{name} {version}" for name, version in found["versions"].items()))
    gpus = ", ".join(machine["gpus"]) or "no GPU that torch can use"
    threads = f", {machine['threads']} torch threads" if machine["threads"] else ""
    typer.echo(f"machine     {machine['cpu']}, {machine['cores']} cores{threads}; {gpus}")
    for backend in found["backends"]:
        typer.echo(f"backend     {backend['name']}: {'; '.join(backend['problems']) or 'ready'}")
    for bad in found["broken_plugins"]:
        typer.echo(f"broken      plugin {bad['entry_point']} ({bad['distribution']}): {bad['error']}")
    if "target" in run:
        drafts = ", ".join(f"{name} ({backend})" for name, backend in run["drafts"].items()) or "none"
        typer.echo(f"run         target {run['target']}, drafts {drafts}, policy {run['policy']}")
    for problem in run["problems"]:
        typer.echo(f"problem     {problem}")
    typer.echo("this run cannot start; see the problems above" if run["problems"] else "this run can start")
