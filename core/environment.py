"""The machine, in general words, and the libraries that are installed on it."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from paceline.core.errors import PacelineError

CPU_LIST = Path("/proc/cpuinfo")
MEMORY = Path("/proc/meminfo")
GROUP = Path("/sys/fs/cgroup")
GIB = 2**30
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
MEMORY_IN_USE = Path("/proc/self/smaps_rollup")

VERSIONED = ("paceline", "torch", "transformers", "numpy")
LIBRARIES = {
    "numpy": "lab",
    "matplotlib": "lab",
    "jinja2": "lab",
    "zstandard": "lab",
    "pyarrow": "parquet",
    "torch": "hf",
    "transformers": "hf",
    "safetensors": "hf",
    "starlette": "serve",
    "uvicorn": "serve",
    "prometheus_client": "serve",
    "hypothesis": "testing",
}
"""The extra that brings each library that a part of paceline imports."""


def cpu_model() -> str:
    """Return the processor's name as the system gives it."""
    return _cpu_fact("model name") or platform.processor() or platform.machine()


SHORT_FORMATS = ("avx_vnni", "avx512_vnni", "amx_int8", "avx512_bf16", "amx_bf16")
"""Instructions that multiply in int8 and bfloat16 faster than in float32, as Linux names them."""


def cpu_short_formats() -> list[str]:
    """Return the instructions for int8 and bfloat16 that the processor has, as far as the system tells."""
    there = _cpu_fact("flags").split()
    return [name for name in SHORT_FORMATS if name in there]


def _cpu_fact(name: str) -> str:
    """Return what the system says of its first processor under a name; nothing where it does not."""
    try:
        lines = CPU_LIST.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    pairs = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in pairs if key.strip() == name), "")


def huge_page_setting() -> str | None:
    """Return when Linux gives large pages of memory: always, madvise (to whoever asks) or never; None elsewhere."""
    try:
        settings = HUGE_PAGES.read_text(encoding="utf-8").split()
    except OSError:
        return None
    return next((word.strip("[]") for word in settings if word.startswith("[")), None)


def huge_page_bytes() -> int | None:
    """Return how much of this process's memory lies in large pages; None where nobody tells."""
    try:
        lines = MEMORY_IN_USE.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    sizes = (line.split()[1] for line in lines if line.startswith("AnonHugePages:"))
    return next((int(kibibytes) * 1024 for kibibytes in sizes), None)


def versions() -> dict[str, str]:
    """Return the version of Python and of every library in use that is installed."""
    installed = {"python": platform.python_version()}
    for name in VERSIONED:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed


def cores() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe_machine() -> dict[str, Any]:
    """Describe the machine as JSON-able values; torch is asked only if something has loaded it already."""
    described: dict[str, Any] = {
        "system": platform.system(),
        "cpu": cpu_model(),
        "cores": cores(),
        "short_formats": cpu_short_formats(),
        "huge_pages": huge_page_setting(),
        "threads": None,
        "gpus": [],
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        described["threads"] = torch.get_num_threads()
        if torch.cuda.is_available():
            described["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return described


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


def require(*libraries: str) -> None:
    """Refuse to begin without libraries that will be needed.

    Raises:
        PacelineError: Names those that are not installed, and what to do.
    """
    missing = [library for library in libraries if find_spec(library) is None]
    if missing:
        raise PacelineError(
            f"this needs {', '.join(missing)}, which is not installed; "
            + (remedy(LIBRARIES[missing[0]]) if missing[0] in LIBRARIES else f"pip install {missing[0]}")
        )


def remedy(extra: str) -> str:
    """Return what to do to get an extra: a command that works wherever paceline was installed from its source."""
    return f"install paceline with its extra {extra!r}: in its source folder, pip install '.[{extra}]'"


def _system() -> int | None:
    """Return what the kernel could give away without swapping."""
    try:
        lines = MEMORY.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    available = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return None if available is None else int(available) * 1024


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
