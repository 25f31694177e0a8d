"""How much memory there is for models, as far as the system tells."""

from __future__ import annotations

import sys
from pathlib import Path

MEMORY = Path("/proc/meminfo")
GROUP = Path("/sys/fs/cgroup")
GIB = 2**30


def free_memory(device: str) -> int | None:
    """Return the bytes that a process may still take on a device, None where nobody tells.

    Args:
        device: As torch names it, such as cpu or cuda:0.
    """
    if device == "cpu":
        known = [free for free in (_system(), _group()) if free is not None]
        return min(known, default=None)
    torch = sys.modules.get("torch")
    if torch is None or not device.startswith("cuda") or not torch.cuda.is_available():
        return None
    return int(torch.cuda.mem_get_info(device)[0])


def gib(count: int) -> str:
    """Return a number of bytes as people read it."""
    return f"{count / GIB:.1f} GiB" if count >= GIB / 10 else f"{count / 2**20:.0f} MiB"


def _system() -> int | None:
    """Return what the kernel could give away without swapping."""
    try:
        lines = MEMORY.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return None if found is None else int(found) * 1024


def _group() -> int | None:
    """Return what the control group of a container leaves; caches of files in it can be given back."""
    try:
        limit = (GROUP / "memory.max").read_text(encoding="utf-8").strip()
        used = int((GROUP / "memory.current").read_text(encoding="utf-8"))
        rows = (GROUP / "memory.stat").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return None
    if not limit.isdigit():
        return None
    files = next((int(row.split()[1]) for row in rows if row.startswith("inactive_file ")), 0)
    return max(0, int(limit) - used + files)
