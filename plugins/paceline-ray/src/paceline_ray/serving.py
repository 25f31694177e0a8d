"""Ray Serve in front of paceline's own engine: as many replicas as wanted, one hub, one OpenAI-compatible address."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from starlette.responses import HTMLResponse, JSONResponse

from paceline import AsyncDecoder, load_config
from paceline.serving import Admission, ApiError, ServedModel, create_app
from paceline_ray import actor
from paceline_ray.page import render
from paceline_ray.replica import Replica

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

    from paceline import RunConfig

APP = "paceline"
SPARE = 16
"""Requests besides those that `Admission` counts, such as for the list of models; they never wait for texts."""


class Server:
    """One replica, as Ray Serve starts it.

    Args:
        run: The run, as JSON-able values.
        model: The name clients know the model by.
        admission: What is let in, as the fields of `Admission`.
        sharing: Whether it shares what it learns.
        period_s: Seconds between two reports.
    """

    def __init__(
        self,
        run: Mapping[str, Any],
        model: str,
        admission: Mapping[str, Any],
        *,
        sharing: bool,
        period_s: float,
    ) -> None:
        name = str(actor.ray("ray.serve").get_replica_context().replica_id.unique_id)
        connect = actor.connect if sharing else None
        self._replica = Replica(load_config(run), name=name, connect=connect, period_s=period_s)
        self._model = ServedModel(model, AsyncDecoder(self._replica.decoder))
        self._admission = Admission(**admission)

    def __serve_build_asgi_app__(self) -> Starlette:
        pages = {"/paceline": _page, "/paceline.json": _document}
        return create_app(self._model, admission=self._admission, pages=pages)

    async def finish(self) -> int:
        """Send new requests away from now on, and return how many are still under way."""
        self._admission.closing = True
        return self._admission.in_flight

    def __del__(self) -> None:
        """Report and close; Ray Serve calls this once the last request is done."""
        if hasattr(self, "_admission"):
            self._model.ready().close()
            self._replica.close()


def application(
    config: RunConfig,
    *,
    model: str,
    replicas: int,
    sharing: bool,
    period_s: float,
    admission: Admission | None = None,
) -> Any:
    """Return the Ray Serve application for a run; give it to `serve.run`."""
    serve = actor.ray("ray.serve")
    admission = Admission() if admission is None else admission
    deployment = serve.deployment(
        name="replica",
        num_replicas=replicas,
        max_ongoing_requests=admission.active + admission.queue + SPARE,
        max_queued_requests=admission.active + admission.queue,
        max_constructor_retry_count=1,
        graceful_shutdown_timeout_s=5.0,
        ray_actor_options={"num_cpus": 1},
    )(serve.ingress()(Server))
    return deployment.bind(
        config.model_dump(mode="json"), model, asdict(admission), sharing=sharing, period_s=period_s
    )


async def _status() -> dict[str, Any]:
    ray = actor.ray()
    try:
        hub = ray.get_actor(actor.NAME, namespace=actor.NAMESPACE)
        status: dict[str, Any] = await asyncio.wait_for(hub.status.remote(), actor.PATIENCE_S)
    except (ValueError, TimeoutError, ray.exceptions.RayError) as error:
        raise ApiError(f"the hub does not answer: {error}", status=503, code="no_hub") from None
    return status


async def _page(_request: Request) -> Response:
    return HTMLResponse(render(await _status()))


async def _document(_request: Request) -> Response:
    return JSONResponse(await _status())
