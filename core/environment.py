"""The machine: its processor's name, and the optional libraries that are installed on it."""

from __future__ import annotations

import platform
from importlib.util import find_spec
from pathlib import Path

from paceline.core.errors import PacelineError

CPU_LIST = Path("/proc/cpuinfo")

LIBRARIES = {
    "numpy": "lab",
    "matplotlib": "lab",
    "jinja2": "lab",
    "zstandard": "lab",
    "pyarrow": "parquet",
    "torch": "hf",
    "transformers": "hf",
    "safetensors": "hf",
    "hypothesis": "testing",
}
"""The extra that brings each library that a part of paceline imports."""


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
