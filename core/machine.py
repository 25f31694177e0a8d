"""What hardware this is, as far as the standard library can tell."""

from __future__ import annotations

import platform
from pathlib import Path

CPU_LIST = Path("/proc/cpuinfo")


def cpu_model() -> str:
    """Return the processor's name as the system gives it."""
    try:
        lines = CPU_LIST.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()
