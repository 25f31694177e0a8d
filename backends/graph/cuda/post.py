"""Numbers on their way to the device: one copy, for which nobody waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.backends.graph.cuda.runner import Runner


class Post:
    """Fills a buffer of the device from the host.

    Args:
        runner: Of the device.
        buffer: float64, shape (numbers,).
    """

    def __init__(self, runner: Runner, buffer: torch.Tensor) -> None:
        self._buffer = buffer
        self._host = runner.host(len(buffer))
        self._numbers = self._host.numpy()
        self._sent: torch.cuda.Event | None = None
        if buffer.device.type == "cuda":
            self._sent = torch.cuda.Event()  # type: ignore[no-untyped-call]

    def send(self, numbers: Sequence[float]) -> None:
        """Put numbers at the start of the buffer, in order with the work of the device."""
        if self._sent is not None:
            self._sent.synchronize()  # the copy before may still read this memory; it left long ago, as a rule
        count = len(numbers)
        self._numbers[:count] = numbers
        self._buffer[:count].copy_(self._host[:count], non_blocking=True)
        if self._sent is not None:
            self._sent.record()
