"""Where programs run: on the CPU they are called, on a GPU they are captured once and replayed.

Both count what they build and what they copy to the host, so that a test can hold them to what is promised: nothing is
built after warm-up, and one copy is made a round.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Program = "Callable[[], None]"


class Stamp(Protocol):
    """A moment in the work of the device."""

    def set(self) -> None:
        """Note the moment at which all work so far is done."""
        ...

    def since(self, other: Stamp) -> float:
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

    def stamp(self) -> Stamp:
        """Return a moment to be set."""
        ...

    def host(self, size: int) -> torch.Tensor:
        """Return memory of the host, float64, that the device can copy to and from by itself."""
        ...

    def fetch(self, numbers: torch.Tensor, place: torch.Tensor) -> list[float]:
        """Wait for the device, and return numbers through `place`, memory that `host` gave."""
        ...


class Eager:
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

    def stamp(self) -> Stamp:
        """Return a moment of the host's clock."""
        return _HostStamp()

    def host(self, size: int) -> torch.Tensor:
        """Return plain memory."""
        return torch.zeros(size, dtype=torch.float64)

    def fetch(self, numbers: torch.Tensor, place: torch.Tensor) -> list[float]:
        """Return the numbers."""
        self.reads += 1
        return place[: len(numbers)].copy_(numbers).tolist()  # type: ignore[no-any-return]


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
        with torch.cuda.device(device):
            self._stream = torch.cuda.Stream(device)
            self._side = torch.cuda.Stream(device)
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
        saved = [buffer.clone() for buffer in changes]
        chance = None if generator is None else generator.get_state()
        self._side.wait_stream(self._stream)
        with torch.cuda.stream(self._side):
            for _ in range(self.WARM_UPS):
                program()
        self._stream.wait_stream(self._side)
        graph = torch.cuda.CUDAGraph()
        if generator is not None:
            graph.register_generator_state(generator)  # type: ignore[no-untyped-call]
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
        return place.tolist()  # type: ignore[no-any-return]


class _HostStamp:
    """On the CPU work is done when the call returns."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def set(self) -> None:
        self._seconds = perf_counter()

    def since(self, other: Stamp) -> float:
        assert isinstance(other, _HostStamp)
        return self._seconds - other._seconds


class _DeviceStamp:
    """A CUDA event."""

    def __init__(self) -> None:
        self._event = torch.cuda.Event(enable_timing=True)

    def set(self) -> None:
        self._event.record()

    def since(self, other: Stamp) -> float:
        assert isinstance(other, _DeviceStamp)
        return other._event.elapsed_time(self._event) / 1000  # type: ignore[no-any-return]


def runner_for(device: torch.device) -> Runner:
    """Return what fits a device: graphs on a GPU, plain calls elsewhere."""
    return Captured(device) if device.type == "cuda" else Eager(device)
