"""Programs as CUDA graphs: recorded once, replayed every round."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from threading import Lock
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paceline.backends.graph.cuda.runner import Stamp


class Captured:
    """Records programs as CUDA graphs, and replays them on a stream of its own.

    All graphs share one pool of memory. That is sound since they run one after the other on one stream, and since what
    has to last lies in buffers outside the pool.
    """

    WARM_UPS = 2
    """Runs before a capture: libraries choose their kernels and take their workspaces in the first ones."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.builds = 0
        self.reads = 0
        self._building = Lock()  # two captures at a time would share the side stream
        with torch.cuda.device(device):
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._pool = torch.cuda.graph_pool_handle()
            torch.cuda.synchronize(device)  # what was loaded on other streams is there from now on

    def work(self) -> AbstractContextManager[object]:
        """Switch gradients off, and take this device and stream."""
        stack = ExitStack()
        stack.enter_context(torch.inference_mode())
        stack.enter_context(torch.cuda.stream(self._stream))
        return stack

    def build(
        self,
        program: Callable[[], None],
        *,
        changes: Sequence[torch.Tensor],
        generator: torch.Generator | None = None,
    ) -> Callable[[], None]:
        """Warm the program up, capture it, and return its replay."""
        with self._building:
            saved = [buffer.clone() for buffer in changes]
            chance = None if generator is None else generator.get_state()
            self._side.wait_stream(self._stream)
            with torch.cuda.stream(self._side):
                for _ in range(self.WARM_UPS):
                    program()
            self._stream.wait_stream(self._side)
            graph = torch.cuda.CUDAGraph()
            if generator is not None:
                graph.register_generator_state(generator)
            with torch.cuda.graph(
                graph, pool=self._pool, stream=self._side, capture_error_mode="thread_local"
            ):
                program()
            self._stream.wait_stream(self._side)
            for buffer, content in zip(changes, saved, strict=True):
                buffer.copy_(content)
            if generator is not None and chance is not None:
                generator.set_state(chance)
            self.builds += 1
        return graph.replay

    def stamp(self) -> Stamp:
        """Return an event of the device."""
        return _DeviceStamp()

    def host(self, size: int) -> torch.Tensor:
        """Return pinned memory."""
        return torch.zeros(size, dtype=torch.float64, pin_memory=True)

    def fetch(self, numbers: torch.Tensor, place: torch.Tensor) -> list[float]:
        """Copy the numbers, wait for all work so far, and return them."""
        self.reads += 1
        place = place[: len(numbers)]
        place.copy_(numbers, non_blocking=True)
        self._stream.synchronize()
        return place.tolist()


class _DeviceStamp:
    """A CUDA event."""

    def __init__(self) -> None:
        self.event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]

    def set(self) -> None:
        self.event.record()

    def since(self, other: Stamp) -> float:
        assert isinstance(other, _DeviceStamp)
        return other.event.elapsed_time(self.event) / 1000  # type: ignore[no-any-return]
