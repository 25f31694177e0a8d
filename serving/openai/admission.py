"""Admission to the HTTP interface: whose requests are taken, how many at once, and until when."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable, Collection
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from paceline.core.log import log
from paceline.serving.checks import is_cross_site
from paceline.serving.openai.errors import ApiError
from paceline.serving.scheduler import MAX_ACTIVE

OPEN = frozenset({"/health"})
"""Paths that may be asked for without a key."""

STALLED_S = 60.0
"""Seconds that a client may take over a piece of an answer before it is given up."""


@dataclass(slots=True)
class Admission:
    """Rules about who is let in.

    Attributes:
        key: What clients must send as a bearer token; None lets everybody in who reaches the port.
        hosts: Names of the server besides its addresses; see `paceline.serving.is_cross_site`.
        active: Requests that are decoded at a time.
        queue: Requests that may wait besides; the next one is sent away.
        body_bytes: The longest body.
        closing: Whether new requests are sent away because the server is about to end.
        in_flight: Requests that are being answered.
        retry_s: When those who were sent away may try again.
        server: What `/health` says, so that whoever started the server knows it again.
    """

    key: str | None = None
    hosts: Collection[str] = ()
    active: int = MAX_ACTIVE
    queue: int = 64
    body_bytes: int = 2**20
    closing: bool = False
    in_flight: int = 0
    retry_s: int = 2
    server: str = ""

    def check(self, method: str, path: str, headers: Headers) -> None:
        """Look at a request before anything of its body is read.

        Raises:
            ApiError: It may not come in.
        """
        reason = is_cross_site(method, headers, self.hosts)
        if reason is not None:
            raise ApiError(reason, status=403, code="cross_site_request")
        if path not in OPEN and not self._has_key(headers.get("authorization", "")):
            raise ApiError(
                "this server asks for its key: Authorization: Bearer KEY", status=401, code="invalid_api_key"
            )
        if method != "POST":
            return
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise ApiError("send JSON, with Content-Type: application/json", status=415, code="not_json")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self.body_bytes:
            raise self.too_long()
        if self.closing:
            raise ApiError(
                "this server is shutting down", status=503, code="shutting_down", retry_s=self.retry_s
            )
        if self.in_flight >= self.active + self.queue:
            raise ApiError(
                f"{self.in_flight} requests are under way here; try again",
                status=429,
                code="too_many_requests",
                retry_s=self.retry_s,
            )

    def too_long(self) -> ApiError:
        """Return what is said of a body that is too long."""
        return ApiError(
            f"this server reads bodies of up to {self.body_bytes} bytes", status=413, code="body_too_long"
        )

    def _has_key(self, authorization: str) -> bool:
        if self.key is None:
            return True
        kind, _, key = authorization.partition(" ")
        return kind.lower() == "bearer" and hmac.compare_digest(key.strip().encode(), self.key.encode())


class AdmissionMiddleware:
    """ASGI middleware: answers what is not admitted, counts what is, and gives up clients that do not read.

    Args:
        app: The application.
        admission: What is let in.
        on_response: Is given the status of each response.
        stalled_s: Seconds that a client may take over a piece of an answer.
    """

    def __init__(
        self,
        app: ASGIApp,
        admission: Admission,
        on_response: Callable[[int], None],
        stalled_s: float = STALLED_S,
    ) -> None:
        self._app, self._admission = app, admission
        self._on_response, self._stalled_s = on_response, stalled_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        admission, method = self._admission, scope["method"]

        async def pass_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._on_response(message["status"])
            async with asyncio.timeout(self._stalled_s):
                await send(message)

        try:
            admission.check(method, scope["path"], Headers(scope=scope))
        except ApiError as error:
            await error.response()(scope, receive, pass_on)
            return
        working = method == "POST"
        admission.in_flight += working
        try:
            await self._app(scope, receive, pass_on)
        except TimeoutError:
            log.warning("client_stalled", path=scope["path"], seconds=self._stalled_s)
        finally:
            admission.in_flight -= working
