"""An ASGI middleware for vLLM's server: refuses requests of foreign pages, and new work once the server is to end."""

from __future__ import annotations

import json
import os
import select
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from paceline.serving import is_cross_site

HOSTS = "PACELINE_ALLOWED_HOSTS"
"""Environment variable: further names of the server, with commas between them."""

CLOSING = "PACELINE_CLOSING"
"""Environment variable: the number of an open file that can be read from once the server is to end."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Admission:
    """For vLLM's `--middleware`, which makes it with the application alone."""

    def __init__(self, app: Callable[[Message, Receive, Send], Awaitable[None]]) -> None:
        self._app = app
        self._closing = _inherited(os.environ.get(CLOSING, ""))
        self._hosts = [name.strip() for name in os.environ.get(HOSTS, "").split(",") if name.strip()]

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Hand on what may come in; answer the rest with 403 or 503, in the form of OpenAI's errors."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        method = scope.get("method", "POST")  # a socket is opened by GET, and then makes the server work
        reason, status = is_cross_site(method, headers, self._hosts), 403
        if reason is None and method == "POST" and self._closes():
            reason, status = "this server is shutting down", 503
        if reason is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await _answer(send, status, reason)

    def _closes(self) -> bool:
        return self._closing is not None and bool(select.select([self._closing], [], [], 0)[0])


async def _answer(send: Send, status: int, reason: str) -> None:
    kind = "invalid_request_error" if status < 500 else "server_error"
    error = {"message": reason, "type": kind, "param": None, "code": status}
    headers = [(b"content-type", b"application/json")]
    if status == 503:
        headers.append((b"retry-after", b"2"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps({"error": error}).encode()})


def _inherited(number: str) -> int | None:
    """Return the number of an open file, or None in a process that was not given it."""
    try:
        os.fstat(int(number))
    except (ValueError, OSError):
        return None
    return int(number)
