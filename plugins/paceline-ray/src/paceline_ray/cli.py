"""The command `paceline-ray`: serve a run by several replicas, decode a file of prompts, look at what was learnt."""

from __future__ import annotations

import json
import os
import secrets
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from paceline import BackendError, ConfigError, PacelineError, RunConfig
from paceline.serving import Admission, check_port, first_signal
from paceline_ray import actor
from paceline_ray.batch import generate_rows
from paceline_ray.batch_files import Journal, read_prompts
from paceline_ray.lifecycle import (
    PATIENCE_S,
    Stopped,
    cause,
    check_own_server,
    drained,
    missing_requirements,
    raise_on_signals,
    start,
    within,
)
from paceline_ray.page import acceptance_sums, gammas
from paceline_ray.replica import replica_run
from paceline_ray.serving import APP, application

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

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
    api_key: Annotated[
        str | None,
        typer.Option("--api-key", envvar="PACELINE_API_KEY", help="What clients must send as their key."),
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option("--allowed-host", help="A name that clients may call the server by, such as a proxy's."),
    ] = None,
    queue: Annotated[
        int, typer.Option("--queue", min=0, max=10_000, help="Requests that may wait at each replica.")
    ] = 64,
    max_body: Annotated[
        int, typer.Option("--max-body", min=1024, max=2**30, help="Bytes of the longest request.")
    ] = 2**20,
    grace: Annotated[
        float, typer.Option("--grace", min=0.0, max=3600.0, help="Seconds for what is under way at the end.")
    ] = 30.0,
    half_life: HalfLife = 300.0,
    period: Period = 1.0,
    keep: Keep = None,
    alone: Alone = False,
    address: Address = None,
) -> None:
    """Serve a run over HTTP, as OpenAI does, until interrupted."""
    run = _checked_run(config, sharing=not alone, own=address is None)
    if address is None:
        check_port(host, port)
    admission = Admission(
        api_key,
        (host, *(allowed_host or ())),
        queue=queue,
        body_bytes=max_body,
        server=secrets.token_hex(8),
    )
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    with cluster(address, cpus=replicas):
        module = actor.ray("ray.serve")
        try:
            module.start(http_options={"host": host, "port": port})
            if not alone:
                actor.start_hub(half_life_s=half_life or None, folder=keep)
            start(
                application(
                    run,
                    model=model,
                    replicas=replicas,
                    sharing=not alone,
                    period_s=period,
                    admission=admission,
                )
            )
            check_own_server(url, admission.server)
            with first_signal() as over:
                typer.echo(f"serving {model!r} by {replicas} replica(s) on {url}/v1")
                if not alone:
                    typer.echo(f"what they learn: {url}/paceline")
                if api_key is None and host not in LOOPBACK:
                    typer.echo("without --api-key, everybody who reaches this address may use it", err=True)
                over.wait()
            typer.echo(f"ending: requests under way have {grace:g} s; new ones are sent away", err=True)
            within(PATIENCE_S + grace, lambda: _drain(grace))
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
    """Decode a file of prompts. What was interrupted goes on when the same command is given again."""
    rows = read_prompts(prompts)
    run = _checked_run(config, sharing=not alone, own=address is None)
    with Journal(out, rows, run) as journal:
        if len(journal):
            typer.echo(f"{len(journal)} of {len(rows)} texts are in {journal.path}; going on", err=True)
        if left := journal.left():
            try:
                with cluster(address, cpus=replicas):
                    if not alone:
                        actor.start_hub(half_life_s=half_life or None, folder=keep)
                    try:
                        for place, answer in generate_rows(
                            left, run, replicas=replicas, sharing=not alone, period_s=period
                        ):
                            journal.add(place, answer)
                    finally:
                        if not alone and address is None:
                            actor.end_hub()
            except BaseException:
                typer.echo(
                    f"{len(journal)} of {len(rows)} texts are in {journal.path}; the same command goes on from there",
                    err=True,
                )
                raise
        failed = journal.finish()
    typer.echo(
        f"{len(rows)} texts in {out}" + (f", {len(failed)} of them failed: {failed[0]}" if failed else "")
    )
    if failed:
        raise typer.Exit(1)


@app.command()
def status(
    *,
    url: Annotated[str, typer.Option(help="Where `serve` listens.")] = "http://127.0.0.1:8000",
    api_key: Annotated[
        str | None, typer.Option("--api-key", envvar="PACELINE_API_KEY", help="The key of the server.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show the shared posterior and the gammas chosen."""
    document = _fetch(f"{url.rstrip('/')}/paceline.json", api_key)
    if as_json:
        typer.echo(json.dumps(document, indent=1))
        return
    if not document["subjects"]:
        typer.echo("no replica has reported yet")
    for group in document["subjects"]:
        typer.echo(f"{group['key']}: {len(group['replicas'])} replica(s)")
        for place, (yes, no) in acceptance_sums(group["pool"]).items():
            typer.echo(
                f"  {place:<24} accepted {yes:9.1f}  refused {no:9.1f}  share {yes / (yes + no or 1):.3f}"
            )
        chosen = ", ".join(f"{gamma}: {times:.0f}" for gamma, times in gammas(group["counts"]).items())
        typer.echo(f"  gammas chosen  {chosen or 'not told by this engine'}")


def main() -> None:
    """Run the command line and leave with its exit code: 0 done, 1 failed, 2 wrong usage, 130 and 143 stopped."""
    try:
        app(prog_name="paceline-ray")
    except PacelineError as error:
        sys.stderr.write(f"paceline-ray: {error}\n")
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    except Stopped as stop:
        sys.exit(stop.code)


@contextmanager
def cluster(address: str | None, *, cpus: int) -> Iterator[None]:
    """Join a cluster, or start one on this machine and end it afterwards."""
    ray = actor.ray()
    options: dict[str, Any] = {"namespace": actor.NAMESPACE, "log_to_driver": True}
    if address is None:
        # One is for whatever Ray runs besides. The number is a ration, not a count of cores.
        options |= {"num_cpus": max(cpus + 1, os.cpu_count() or 1), "include_dashboard": False}
    raise_on_signals()
    try:
        try:
            ray.init(address=address or "local", **options)
        except Exception as error:
            raise BackendError(f"Ray does not start: {cause([str(error)])}") from error
        raise_on_signals()
        yield
    except ray.exceptions.RayError as error:
        raise BackendError(f"the replicas failed: {cause([str(error)])}") from error
    finally:
        ray.shutdown()


def _checked_run(config: Path | None, *, sharing: bool, own: bool) -> RunConfig:
    """Return the run, once all is seen that can be seen before a cluster starts or a model is loaded."""
    run = replica_run(config, sharing=sharing)
    actor.ray("ray.serve")
    problems = (
        missing_requirements(run) if own else []
    )  # the machines of other clusters may have what this one lacks
    if problems:
        raise BackendError("; ".join(problems))
    return run


def _end(serve: Any, *, own: bool) -> None:
    serve.delete(APP)
    if own:  # in a cluster of others, they may be using the rest
        actor.end_hub()
        serve.shutdown()


def _drain(grace_s: float) -> None:
    if not drained(grace_s):
        typer.echo(f"after {grace_s:g} s some requests are still under way; they are cut", err=True)


def _fetch(url: str, key: str | None) -> dict[str, Any]:
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"--url is an address such as http://127.0.0.1:8000, found {url!r}")
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    try:
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 - http, see above
        with urllib.request.urlopen(request, timeout=10.0) as answer:  # noqa: S310 - http, see above
            document: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as error:
        raise BackendError(
            f"{url} answers {error.code}: {error.read(10_000).decode(errors='replace')}"
        ) from None
    except OSError as error:
        raise BackendError(f"nobody answers at {url} ({error}); start `paceline-ray serve`") from None
    return document
