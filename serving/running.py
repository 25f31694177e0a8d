"""A server from start to end: its port, the thread it answers in, and the signal that ends it."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from paceline.core.errors import BackendError
from paceline.serving.checks import check_port

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from paceline.serving.openai.admission import Admission

MOST_CONNECTIONS = 1024
"""Open connections, idle ones included; uvicorn answers 503 to those beyond."""

KEEP_ALIVE_S = 15
PATIENCE_S = 5.0
"""Seconds that the server may take to start, and to send what is left when it ends."""


class HttpServer:
    """Answers requests in a thread of its own from the moment it is made, so that the main thread may load a model.

    Args:
        app: The application.
        host: The address to listen on.
        port: The port; 0 takes any that is free.

    Raises:
        BackendError: Somebody listens there.
        ConfigError: This machine cannot listen there.

    Attributes:
        url: Its address.
    """

    def __init__(self, app: Starlette, host: str, port: int) -> None:
        check_port(host, port)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=MOST_CONNECTIONS)
        name = f"[{host}]" if ":" in host else host
        self.url = f"http://{name}:{listening.getsockname()[1]}"
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=int(PATIENCE_S),
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([listening],), name="paceline-http", daemon=True
        )
        self._thread.start()
        until_s = time.monotonic() + PATIENCE_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > until_s:
                raise BackendError(f"the server does not start on {self.url}")
            time.sleep(0.005)

    def stop(self) -> None:
        """Send what is left, and end."""
        self._server.should_exit = True
        self._thread.join(2 * PATIENCE_S)


def drain(admission: Admission, grace_s: float) -> bool:
    """Send new requests away and wait for those under way; return whether all were done in time."""
    admission.closing = True
    until_s = time.monotonic() + grace_s
    while admission.in_flight and time.monotonic() < until_s:
        time.sleep(0.02)
    return not admission.in_flight


@contextmanager
def first_signal() -> Iterator[threading.Event]:
    """Yield what is set by the first signal that asks the process to end; what was there before handles the others."""
    over = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def first(_number: int, _frame: FrameType | None) -> None:
        restore()
        over.set()

    for number in before:
        signal.signal(number, first)
    try:
        yield over
    finally:
        restore()
