"""`paceline doctor`: what is installed, what is ready, and whether a run could start."""

from __future__ import annotations

from dataclasses import asdict
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final

import typer

from paceline.cli._checks import TOKENS, Trial, check_run, try_backend
from paceline.cli._options import ConfigOption, JsonOption, read_config
from paceline.cli._render import show_json
from paceline.core.config.run import RunConfig
from paceline.core.environment import describe_machine, gib, versions
from paceline.core.errors import ConfigError
from paceline.core.plugins.catalogue import Catalogue, failing_policies

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


def doctor(*, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Tell what is installed, try each backend on its smallest model, and check what a run file (or none) would run.

    Exits with 0 if the run could start and with 1 if not. The run's own weights are not read.
    """
    catalogue = Catalogue.load()
    trials = {
        name: Trial() if entry.config.missing() else try_backend(entry.config, catalogue)
        for name, entry in catalogue.backends.items()
    }
    checked: dict[str, Any] = {
        "versions": versions(),
        "machine": _machine(),
        "backends": [
            {"name": name, "problems": list(entry.config.missing()), "trial": asdict(trials[name])}
            for name, entry in catalogue.backends.items()
        ],
        "broken_plugins": [bad._asdict() for bad in (*catalogue.broken, *failing_policies(catalogue))],
        "run": _run(config, catalogue, trials),
    }
    if as_json:
        show_json("doctor", checked)
    else:
        _show(checked)
    raise typer.Exit(int(bool(checked["run"]["problems"])))


def _machine() -> dict[str, Any]:
    """Describe the machine; torch is loaded for it if it is installed, since it alone knows the devices."""
    try:
        metadata.version("torch")
        import torch  # noqa: F401, PLC0415
    except (metadata.PackageNotFoundError, ImportError):
        pass
    return describe_machine()


def _run(path: Any, catalogue: Catalogue, trials: Mapping[str, Trial]) -> dict[str, Any]:
    try:
        run: RunConfig = read_config(path, catalogue=catalogue)
    except ConfigError as error:
        return {"problems": str(error).splitlines()}
    return {
        "target": run.target.backend,
        "drafts": {name: draft.backend for name, draft in run.drafts.items()},
        "policy": run.policy.name,
        **asdict(check_run(run, catalogue, trials)),
    }


def _show(checked: dict[str, Any]) -> None:
    machine, run = checked["machine"], checked["run"]
    typer.echo(
        "installed   " + ", ".join(f"{name} {version}" for name, version in checked["versions"].items())
    )
    gpus = ", ".join(machine["gpus"]) or "no GPU that torch can use"
    threads = f", {machine['threads']} torch threads" if machine["threads"] else ""
    typer.echo(f"machine     {machine['cpu']}, {machine['cores']} cores{threads}; {gpus}")
    for name, value in _of_memory(machine):
        typer.echo(f"{name:<12}{value}")
    for backend in checked["backends"]:
        typer.echo(f"backend     {backend['name']}: {_state(backend['problems'], backend['trial'])}")
    for plugin in checked["broken_plugins"]:
        typer.echo(
            f"broken      plugin {plugin['entry_point']} ({plugin['distribution']}): {plugin['error']}"
        )
    if "target" in run:
        drafts = ", ".join(f"{name} ({backend})" for name, backend in run["drafts"].items()) or "none"
        typer.echo(f"run         target {run['target']}, drafts {drafts}, policy {run['policy']}")
    for device, room in run.get("memory", {}).items():
        free = "" if room["there"] is None else f", {gib(room['there'])} are there"
        typer.echo(f"memory      {device}: at least {gib(room['needed'])} are needed{free}")
    for draft, why in run.get("unused", {}).items():
        typer.echo(f"unused      drafts.{draft}: {why}")
    for remark in run.get("remarks", ()):
        typer.echo(f"remark      {remark}")
    for problem in run["problems"]:
        typer.echo(f"problem     {problem}")
    typer.echo(
        "this run cannot start; see the problems above"
        if run["problems"]
        else "this run can start, as far as can be told without its weights"
    )


LARGE_PAGES: Final = {
    "always": "given to all memory",
    "madvise": "given to weights, which ask for them",
    "never": "switched off; `echo madvise > /sys/kernel/mm/transparent_hugepage/enabled` lets weights have them",
}


def _of_memory(machine: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what decides how fast weights are read: instructions for short numbers, large pages."""
    yield (
        "int8, bf16",
        ", ".join(machine["short_formats"]) or "no instructions of their own that the system names",
    )
    if machine["huge_pages"] is not None:
        yield "large pages", LARGE_PAGES[machine["huge_pages"]]


def _state(problems: Sequence[str], trial: Mapping[str, Any]) -> str:
    """Return in a few words how a backend stands."""
    if problems:
        return "; ".join(problems)
    if trial["problem"] is not None:
        return f"fails on its smallest model: {trial['problem']}"
    if trial["seconds"] is None:
        return "installed; it has no small model to be tried with"
    return f"ready; its smallest model generated {TOKENS} tokens"
