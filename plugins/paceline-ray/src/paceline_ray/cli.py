"""The command `paceline-ray`: serve a run by several replicas, decode a file of prompts, look at what was learnt."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from paceline import BackendError, ConfigError, PacelineError
from paceline_ray import actor, needs
from paceline_ray.batch import generate_rows, read_prompts, write_rows
from paceline_ray.counts import gammas
from paceline_ray.page import chances
from paceline_ray.runs import replica_run
from paceline_ray.serving import APP, application

PATIENCE_S = 20.0
"""How long a proper end may take: replicas finish what they decode, for five seconds at most."""

app = typer.Typer(
    name="paceline-ray",
    help="paceline on Ray: replicas that share what their policies learn.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Config = Annotated[
    Path | None, typer.Option("--config", "-c", help="A run file; the embedded pair and `auto` without one.")
]
Replicas = Annotated[int, typer.Option("--replicas", "-n", min=1, help="How many decode; each takes a CPU.")]
HalfLife = Annotated[
    float,
    typer.Option(
        "--half-life", min=0.0, help="Seconds until what was learnt weighs half; 0 forgets nothing."
    ),
]
Period = Annotated[float, typer.Option("--period", min=0.5, max=5.0, help="Seconds between two reports.")]
Keep = Annotated[
    Path | None,
    typer.Option(
        "--keep", help="Folder where the hub keeps what it knows; without one, it ends with the cluster."
    ),
]
Alone = Annotated[bool, typer.Option("--alone", help="Share nothing: each replica learns by itself.")]
Address = Annotated[
    str | None,
    typer.Option("--address", help="A Ray cluster to join, such as auto; a new one on this machine without."),
]


@app.command()
def serve(
    *,
    config: Config = None,
    replicas: Replicas = 1,
    model: Annotated[str, typer.Option(help="The name clients know the model by.")] = "paceline",
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where to listen.")] = 8000,
    half_life: HalfLife = 300.0,
    period: Period = 1.0,
    keep: Keep = None,
    alone: Alone = False,
    address: Address = None,
) -> None:
    """Serve a run over HTTP, as OpenAI does, until interrupted."""
    run = replica_run(config, sharing=not alone)
    with cluster(address, cpus=replicas):
        module = needs.serve()
        module.start(http_options={"host": host, "port": port})
        if not alone:
            actor.start_hub(half_life_s=half_life or None, folder=keep)
        try:
            built = application(run, model=model, replicas=replicas, sharing=not alone, period_s=period)
            module.run(built, name=APP, route_prefix="/")
            typer.echo(f"serving {model!r} by {replicas} replica(s) on http://{host}:{port}/v1")
            if not alone:
                typer.echo(f"what they learn: http://{host}:{port}/paceline")
            _until_interrupted()
        finally:
            within(PATIENCE_S, lambda: _end(module, own=address is None))


@app.command()
def batch(
    prompts: Annotated[Path, typer.Argument(help='One object a line, such as {"prompt": "Once"}.')],
    out: Annotated[Path, typer.Argument(help="Where the same objects go, with their texts.")],
    *,
    config: Config = None,
    replicas: Replicas = 1,
    half_life: HalfLife = 300.0,
    period: Period = 1.0,
    keep: Keep = None,
    alone: Alone = False,
    address: Address = None,
) -> None:
    """Decode a file of prompts."""
    rows = read_prompts(prompts)
    run = replica_run(config, sharing=not alone)
    if not out.parent.is_dir():
        raise ConfigError(f"{out}: there is no folder {out.parent}")
    with cluster(address, cpus=replicas):
        if not alone:
            actor.start_hub(half_life_s=half_life or None, folder=keep)
        try:
            done = generate_rows(rows, run, replicas=replicas, sharing=not alone, period_s=period)
        finally:
            if not alone and address is None:
                actor.end_hub()
        write_rows(done, out)
    failed = [row["error"] for row in done if "error" in row]
    typer.echo(
        f"{len(done)} texts in {out}" + (f", {len(failed)} of them failed: {failed[0]}" if failed else "")
    )
    if failed:
        raise typer.Exit(1)


@app.command()
def status(
    *,
    url: Annotated[str, typer.Option(help="Where `serve` listens.")] = "http://127.0.0.1:8000",
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show the shared posterior and the gammas chosen."""
    found = _fetch(f"{url.rstrip('/')}/paceline.json")
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    if not found["subjects"]:
        typer.echo("no replica has reported yet")
    for one in found["subjects"]:
        typer.echo(f"{one['key']}: {len(one['replicas'])} replica(s)")
        for place, (yes, no) in chances(one["pool"]).items():
            typer.echo(
                f"  {place:<24} accepted {yes:9.1f}  refused {no:9.1f}  share {yes / (yes + no or 1):.3f}"
            )
        chosen = ", ".join(f"{gamma}: {times:.0f}" for gamma, times in gammas(one["counts"]).items())
        typer.echo(f"  gammas chosen  {chosen or 'not told by this engine'}")


def main() -> None:
    """Run the command line and leave the process with its exit code: 0 done, 1 failed, 2 wrong usage."""
    try:
        app(prog_name="paceline-ray")
    except PacelineError as error:
        sys.stderr.write(f"paceline-ray: {error}\n")
        sys.exit(2 if isinstance(error, ConfigError) else 1)


@contextmanager
def cluster(address: str | None, *, cpus: int) -> Iterator[None]:
    """Join a cluster, or start one on this machine and end it afterwards."""
    ray = needs.ray()
    options: dict[str, Any] = {"namespace": actor.NAMESPACE, "log_to_driver": True}
    if address is None:
        # One is for whatever Ray runs besides. The number is a ration, not a count of cores.
        options |= {"num_cpus": max(cpus + 1, os.cpu_count() or 1), "include_dashboard": False}
    ray.init(address=address or "local", **options)
    try:
        yield
    finally:
        ray.shutdown()


def within(seconds: float, work: Callable[[], None]) -> None:
    """Do something, but wait no longer: a cluster whose head was killed along with this command answers nobody."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)


def _end(serve: Any, *, own: bool) -> None:
    serve.delete(APP)
    if own:  # in a cluster of others, they may be using the rest
        actor.end_hub()
        serve.shutdown()


def _until_interrupted() -> None:
    over = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: over.set())
    over.wait()


def _fetch(url: str) -> dict[str, Any]:
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"--url is an address such as http://127.0.0.1:8000, found {url!r}")
    try:
        with urllib.request.urlopen(url, timeout=10.0) as answer:  # noqa: S310 - http, see above
            found: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as error:
        raise BackendError(f"{url} answers {error.code}: {error.read().decode(errors='replace')}") from None
    except OSError as error:
        raise BackendError(f"nobody answers at {url} ({error}); start `paceline-ray serve`") from None
    return found
