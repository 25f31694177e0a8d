"""Programs at work: on the CPU they are called, on a GPU captured once as CUDA graphs and replayed.

Both count what they build and what they copy to the host, so that a test can hold them to what is promised: nothing is
built after warm-up, and one copy is made a round.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Event(Protocol):
    """A moment in the work of the device."""

    def record(self) -> None:
        """Note the moment at which all work so far is done."""
        ...

    def seconds_since(self, other: Event) -> float:
        """Return the seconds from `other` to here; both moments must have passed."""
        ...


class Runner(Protocol):
    """Builds and runs programs on one device.

    Attributes:
        builds: Programs built so far.
        reads: Copies from the device to the host so far.
    """

    device: torch.device
    builds: int
    reads: int

    def work(self) -> AbstractContextManager[object]:
        """Enter before anything is done with tensors of the device."""
        ...

    def build(
        self,
        program: Callable[[], None],
        *,
        changes: Sequence[torch.Tensor],
        generator: torch.Generator | None = None,
    ) -> Callable[[], None]:
        """Return what runs the program, as often as wanted.

        Args:
            program: Works on buffers that stay where they are.
            changes: Buffers that the next run depends on; building leaves them as they are.
            generator: What the program draws from, if it draws; building leaves it as it is.
        """
        ...

    def event(self) -> Event:
        """Return a moment to be set."""
        ...

    def host(self, size: int) -> torch.Tensor:
        """Return memory of the host, float64, that the device can copy to and from by itself."""
        ...

    def fetch(self, numbers: torch.Tensor, place: torch.Tensor) -> list[float]:
        """Wait for the device, and return numbers through `place`, memory that `host` gave."""
        ...


class EagerRunner:
    """Calls programs as they are."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.builds = 0
        self.reads = 0

    def work(self) -> AbstractContextManager[object]:
        """Switch gradients off."""
        return torch.inference_mode()

    def build(
        self,
        program: Callable[[], None],
        *,
        changes: Sequence[torch.Tensor],
        generator: torch.Generator | None = None,
    ) -> Callable[[], None]:
        """Return the program itself."""
        self.builds += 1
        return program

    def event(self) -> Event:
        """Return a moment of the host's clock."""
        return _HostEvent()

    def host(self, size: int) -> torch.Tensor:
        """Return plain memory."""
        return torch.zeros(size, dtype=torch.float64)

    def fetch(self, numbers: torch.Tensor, place: torch.Tensor) -> list[float]:
        """Return the numbers."""
        self.reads += 1
        return place[: len(numbers)].copy_(numbers).tolist()


class _HostEvent:
    """On the CPU work is done when the call returns."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def record(self) -> None:
        self.seconds = perf_counter()

    def seconds_since(self, other: Event) -> float:
        assert isinstance(other, _HostEvent)
        return self.seconds - other.seconds


class HostToDeviceBuffer:
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


class CudaGraphRunner:
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
            state = None if generator is None else generator.get_state()
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
            if generator is not None and state is not None:
                generator.set_state(state)
            self.builds += 1
        return graph.replay

    def event(self) -> Event:
        """Return an event of the device."""
        return _DeviceEvent()

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


class _DeviceEvent:
    """A CUDA event."""

    def __init__(self) -> None:
        self.event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]

    def record(self) -> None:
        self.event.record()

    def seconds_since(self, other: Event) -> float:
        assert isinstance(other, _DeviceEvent)
        return other.event.elapsed_time(self.event) / 1000  # type: ignore[no-any-return]
