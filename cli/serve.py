"""`paceline serve`: a model behind OpenAI's HTTP interface, in one process."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paceline.cli._options import LONGEST_ANSWER, DraftOption, ModelArgument, ServiceOptions
from paceline.cli._render import warn

if TYPE_CHECKING:
    from paceline.core.config.run import RunConfig
    from paceline.serving import Admission, Metrics, ServedModel

DEFAULT_NAME = "paceline"
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def serve(
    context: typer.Context,
    model: ModelArgument = None,
    *,
    options: ServiceOptions,
    draft: DraftOption = None,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="What clients call the model; by default, its folder."),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Where to listen; 0 takes any free port.")
    ] = 8000,
    api_key: Annotated[
        str | None,
        typer.Option("--api-key", envvar="PACELINE_API_KEY", help="What clients must send as their key."),
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allowed-host", metavar="NAME", help="A name clients may call the server by. May be repeated."
        ),
    ] = None,
    active: Annotated[
        int, typer.Option("--active", min=1, max=1024, help="Requests that are decoded at a time.")
    ] = 16,
    queue: Annotated[
        int, typer.Option("--queue", min=0, max=10_000, help="Requests that may wait besides.")
    ] = 64,
    max_body: Annotated[
        int, typer.Option("--max-body", min=1024, max=2**30, help="Bytes of the longest request.")
    ] = 2**20,
    deadline: Annotated[
        float | None,
        typer.Option("--deadline", min=0.0, help="Seconds that a request may take; no limit by default."),
    ] = None,
    grace: Annotated[
        float, typer.Option("--grace", min=0.0, max=3600.0, help="Seconds for what is under way at the end.")
    ] = 30.0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No line for each request.")] = False,
) -> None:
    """Serve a model over HTTP, as OpenAI does, until interrupted."""
    run = options.run(model=model, draft=draft, usual_tokens=LONGEST_ANSWER)
    # The server and the models are loaded only now, so that a wrong option is told at once.
    from paceline.serving import Admission, Metrics, ServedModel, create_app  # noqa: PLC0415
    from paceline.serving.running import HttpServer  # noqa: PLC0415

    if not (quiet or context.find_root().params["verbose"]):
        import structlog  # noqa: PLC0415 - not for a page of help

        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    served = ServedModel(
        name or Path(str(getattr(run.target, "model", DEFAULT_NAME))).name, deadline_s=deadline
    )
    admission = Admission(api_key, (host, *(allowed_host or ())), active, queue, max_body)
    metrics = Metrics()
    server = HttpServer(create_app(served, admission=admission, metrics=metrics), host, port)
    try:
        warn(f"loading {served.name!r}; {server.url}/health answers 503 until it is there")
        if api_key is None and host not in LOOPBACK:
            warn("without --api-key, everybody who reaches this address may use it")
        _serve(run.for_service(), served, server.url, metrics, admission, grace)
    finally:
        server.stop()


def _serve(
    run: RunConfig, served: ServedModel, url: str, metrics: Metrics, admission: Admission, grace_s: float
) -> None:
    """Load the model, serve it until a signal asks for the end, and let go of what is under way."""
    from paceline.serving.async_decoder import AsyncDecoder  # noqa: PLC0415
    from paceline.serving.running import drain, first_signal  # noqa: PLC0415

    decoder = AsyncDecoder(run.build(observer=metrics), max_active=admission.active)
    try:
        served.decoder = decoder
        with first_signal() as over:
            typer.echo(f"serving {served.name!r} on {url}/v1, metrics on {url}/metrics")
            over.wait()
        warn(f"ending: requests under way have {grace_s:g} s; new ones are sent away")
        if not drain(admission, grace_s):
            warn(f"after {grace_s:g} s some requests are still under way; they are cut")
    finally:
        admission.closing = True
        decoder.close()
