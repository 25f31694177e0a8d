"""Extras: what is installed besides paceline for a part of it, and how a user gets it."""

from __future__ import annotations

from importlib.util import find_spec

from paceline.core.errors import PacelineError

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


def require(*libraries: str) -> None:
    """Refuse to begin without libraries that will be needed.

    Raises:
        PacelineError: Names those that are not installed, and what to do.
    """
    missing = [one for one in libraries if find_spec(one) is None]
    if missing:
        raise PacelineError(
            f"this needs {', '.join(missing)}, which is not installed; {remedy(LIBRARIES[missing[0]])}"
        )


def remedy(extra: str) -> str:
    """Return what to do to get an extra: a command that works wherever paceline was installed from its source."""
    return f"install paceline with its extra {extra!r}: in its source folder, pip install '.[{extra}]'"
