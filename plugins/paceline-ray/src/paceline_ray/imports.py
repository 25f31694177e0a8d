"""Imports of Ray, with the way to install it where it is missing."""

from __future__ import annotations

from typing import Any

from paceline import BackendError

REMEDY = "pip install 'ray[serve,data]>=2.60'"


def ray() -> Any:
    """Return the module `ray`.

    Raises:
        BackendError: It is not installed.
    """
    try:
        import ray as module  # noqa: PLC0415 - most of this package works without
    except ImportError as error:
        raise BackendError(f"Ray is missing ({error}); {REMEDY}") from error
    return module


def serve() -> Any:
    """Return the module `ray.serve`.

    Raises:
        BackendError: It is not installed.
    """
    ray()
    try:
        from ray import serve as module  # noqa: PLC0415
    except ImportError as error:
        raise BackendError(f"Ray Serve is missing ({error}); {REMEDY}") from error
    return module
