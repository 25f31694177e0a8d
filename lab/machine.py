"""The machine and the versions a bench ran with, in general words: a ratio means little without them."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from typing import Any

from paceline.core.environment import cpu_model

LIBRARIES = ("paceline", "torch", "transformers", "numpy")


def versions() -> dict[str, str]:
    """Return the version of Python and of every library in use that is installed."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def cores() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe() -> dict[str, Any]:
    """Describe the machine as JSON-able values; torch is asked only if something has loaded it already."""
    found: dict[str, Any] = {
        "system": platform.system(),
        "cpu": cpu_model(),
        "cores": cores(),
        "threads": None,
        "gpus": [],
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        found["threads"] = torch.get_num_threads()
        if torch.cuda.is_available():
            found["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return found
