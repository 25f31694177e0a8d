"""Pages of the memory that weights lie in: large ones while they are read, none once they are read no more.

A pass reads all weights, page by page, and looks each page up. Pages of 2 MiB are 512 times fewer than those of 4 KiB,
but Linux gives them only to memory that asks (`madvise`, the usual setting of transparent huge pages). Asking changes
where bytes lie and never what they are, so it is safe for whatever else shares a large page with the weights. Anything
the kernel does not know or refuses is left out silently, since nothing but speed hangs on it.
"""

from __future__ import annotations

import ctypes
import re
from contextlib import suppress
from mmap import PAGESIZE
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import torch

from paceline.core.environment import huge_page_setting

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DONTNEED: Final = 4
HUGEPAGE: Final = 14
COLLAPSE: Final = 25
"""Kinds of advice, of Linux's `mman-common.h`; the last one is known since Linux 6.1."""

HUGE_SIZE: Final = Path("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")
MAPPINGS: Final = Path("/proc/self/smaps")

_HEADER: Final = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ (\d+)")


class Span(NamedTuple):
    """Addresses of a run of bytes, the last one excluded."""

    start: int
    end: int


def span_of(tensor: torch.Tensor) -> Span:
    """Return where a contiguous tensor lies; also one of oneDNN's, whose layout is its own."""
    if tensor.is_mkldnn:
        start = torch.ops.mkldnn.data_ptr(tensor)
        return Span(start, start + torch.ops.mkldnn._nbytes(tensor))  # noqa: SLF001 - no public way to ask
    return Span(tensor.data_ptr(), tensor.data_ptr() + tensor.nbytes)


def enlarge_pages(tensors: Iterable[torch.Tensor]) -> None:
    """Ask for large pages under tensors in memory of the CPU that no file stands behind.

    Small tensors that lie side by side share a large page, so it is asked for wherever one of them has a byte. What
    that can add to the memory in use is one page at each end of a run of tensors.
    """
    size = _huge_page_size()
    if size is None:
        return
    # A build of torch may not tell where oneDNN's tensors lie.
    with suppress(AttributeError, RuntimeError):
        spans = [span for span in map(span_of, tensors) if span.end > span.start]
        numbers = {n for span in spans for n in range(span.start // size, (span.end - 1) // size + 1)}
        # Page by page: one that cannot be moved, at the end of a mapping, must not stop the others.
        for page in numbers:
            for advice in (HUGEPAGE, COLLAPSE):
                _advise(Span(page * size, (page + 1) * size), advice)


@torch.no_grad()
def move_to_large_pages(model: torch.nn.Module) -> None:
    """Ask for large pages under the parameters of a model; those that lie in a file are copied out of it first.

    The file's own pages are let go one parameter after the other, so that memory never holds them twice.
    """
    if _huge_page_size() is None:
        return
    files = FileMappings()
    for parameter in model.parameters():
        if files.holds(parameter):
            stored, parameter.data = parameter.data, parameter.data.clone()
            files.let_go(stored)
    enlarge_pages(model.parameters())


class FileMappings:
    """Files that are mapped into memory and were not written to there, as they are now.

    A page of them holds what the file holds, so it can be let go at any time and is read again when it is next used.
    """

    def __init__(self) -> None:
        self._spans = tuple(_unchanged_files())

    def holds(self, tensor: torch.Tensor) -> bool:
        """Tell whether a tensor lies in one of them."""
        inner = span_of(tensor)
        return any(span.start <= inner.start and inner.end <= span.end for span in self._spans)

    def let_go(self, tensor: torch.Tensor) -> None:
        """Take the pages of a tensor out of memory where a file stands behind them; the tensor stays as it is."""
        if self._spans and tensor.device.type == "cpu" and not tensor.is_mkldnn and self.holds(tensor):
            inner = span_of(tensor)
            start, end = -(-inner.start // PAGESIZE) * PAGESIZE, inner.end // PAGESIZE * PAGESIZE
            if end > start:
                _advise(Span(start, end), DONTNEED)


def return_free_memory() -> None:
    """Give the system back what the allocator keeps of freed memory, where it is glibc's."""
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _unchanged_files() -> Iterator[Span]:
    try:
        lines = MAPPINGS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    span: Span | None = None
    for line in lines:
        header = _HEADER.match(line)
        if header is not None:
            start, end, rights, inode = header.groups()
            private = rights.endswith("p") and inode != "0"
            span = Span(int(start, 16), int(end, 16)) if private else None
        elif span is not None and line.startswith("Anonymous:") and line.split()[1] == "0":
            yield span


def _huge_page_size() -> int | None:
    """Return the size of a large page; None where the system has none or must not give any."""
    if huge_page_setting() not in {"always", "madvise"}:
        return None
    try:
        return int(HUGE_SIZE.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _advise(span: Span, advice: int) -> None:
    """Give the kernel advice; whether it takes it is its own affair."""
    ctypes.CDLL(None).madvise(ctypes.c_void_p(span.start), ctypes.c_size_t(span.end - span.start), advice)
