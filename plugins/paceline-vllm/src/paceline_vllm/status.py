"""Counters on their way from the engine's process to the server's, where vLLM's metrics are: a small file.

The engine does not wait for the disk: a thread writes the file once a second, if anything has changed.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event, Thread
from typing import Any

EVERY_S = 1.0


class StatusWriter:
    """Writes what `counters` returns to a file, now and then, until it is closed."""

    def __init__(
        self, path: Path, counters: Callable[[], Mapping[str, Any]], *, every_s: float = EVERY_S
    ) -> None:
        self.path = path
        self._counters = counters
        self._every_s = every_s
        self._closing = Event()
        self._written = ""
        self._thread = Thread(target=self._run, name="paceline-status", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop, and remove the file."""
        self._closing.set()
        self._thread.join(timeout=5.0)
        self.path.unlink(missing_ok=True)

    def write(self) -> None:
        """Write the file if the counters have changed; readers see the old one or the new one, never half of it."""
        try:
            text = json.dumps(self._counters())
            if text == self._written:
                return
            draft = self.path.with_suffix(f".{os.getpid()}")
            draft.write_text(text, encoding="utf-8")
            draft.replace(self.path)
            self._written = text
        except (OSError, RuntimeError):  # a full disk, or counters that change under the reader: next time
            return

    def _run(self) -> None:
        while not self._closing.wait(self._every_s):
            self.write()


def status_file(vllm_config: Any) -> Path:
    """Return the place that both processes of an engine find by themselves."""
    rank = getattr(vllm_config.parallel_config, "data_parallel_index", 0)
    return Path(tempfile.gettempdir()) / f"paceline-vllm-{vllm_config.instance_id}-{rank}.json"


def read_status(path: Path) -> dict[str, Any] | None:
    """Return what the engine wrote last; None while there is nothing, or nothing to be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
