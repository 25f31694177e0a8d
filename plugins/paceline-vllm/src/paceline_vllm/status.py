"""Counters on their way from the engine's process to the server's, where vLLM's metrics are: a small file.

The engine does not wait for the disk: a thread writes the file once a second, if anything has changed.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event, Thread
from typing import Any

import structlog

from paceline import private_folder

log = structlog.get_logger()

PERIOD_S = 1.0


class StatusWriter:
    """Writes what `counters` returns to a file, now and then, until it is closed; without a file it does nothing."""

    def __init__(
        self, path: Path | None, counters: Callable[[], Mapping[str, Any]], *, period_s: float = PERIOD_S
    ) -> None:
        self.path = path
        self._counters = counters
        self._period_s = period_s
        self._closing = Event()
        self._written = ""
        self._thread = Thread(target=self._run, name="paceline-status", daemon=True)
        if path is not None:
            self._thread.start()

    def close(self) -> None:
        """Stop, and remove the file."""
        self._closing.set()
        if self.path is not None:
            self._thread.join(timeout=5.0)
            self.path.unlink(missing_ok=True)

    def write(self) -> None:
        """Write the file if the counters have changed; readers see the old one or the new one, never half of it."""
        if self.path is None:
            return
        try:
            text = json.dumps(self._counters())
            if text == self._written:
                return
            draft = self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}")
            with draft.open("x", encoding="utf-8") as file:
                file.write(text)
            draft.replace(self.path)
            self._written = text
        except (OSError, RuntimeError):  # a full disk, or counters that change under the reader: next time
            return

    def _run(self) -> None:
        while not self._closing.wait(self._period_s):
            self.write()


def status_file(vllm_config: Any) -> Path | None:
    """Return the place that both processes of an engine find by themselves; None where there is no safe one."""
    rank = getattr(vllm_config.parallel_config, "data_parallel_index", 0)
    try:
        return private_folder("vllm") / f"{vllm_config.instance_id}-{rank}.json"
    except OSError as error:
        log.warning(
            "no_status", reason=str(error), action="metrics lack the gammas; `status` can name a file"
        )
        return None


def read_status(path: Path) -> dict[str, Any] | None:
    """Return what the engine wrote last; None while there is nothing, or nothing to be read."""
    try:
        status = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return status if isinstance(status, dict) else None
