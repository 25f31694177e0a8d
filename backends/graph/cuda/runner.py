"""Where programs run: on the CPU they are called, on a GPU they are captured once and replayed.

Both count what they build and what they copy to the host, so that a test can hold them to what is promised: nothing is
built after warm-up, and one copy is made a round.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


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
        return place[: len(numbers)].copy_(numbers).tolist()


class _HostStamp:
    """On the CPU work is done when the call returns."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def set(self) -> None:
        self.seconds = perf_counter()

    def since(self, other: Stamp) -> float:
        assert isinstance(other, _HostStamp)
        return self.seconds - other.seconds
