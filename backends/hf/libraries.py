"""Which libraries the backend needs, and whether they are here; asks the installed metadata and imports nothing."""

from __future__ import annotations

import re
from importlib import metadata

OLDEST = {"torch": (2, 6), "transformers": (5, 16)}
"""The first supported release of each library."""

REMEDY = "run: pip install 'paceline[hf]'"


def missing_libraries() -> tuple[str, ...]:
    """Return a sentence for each library that is absent or too old."""
    found = ((name, oldest, _installed(name)) for name, oldest in OLDEST.items())
    return tuple(problem for entry in found if (problem := _problem(*entry)))


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _problem(name: str, oldest: tuple[int, int], version: str | None) -> str | None:
    wanted = ".".join(map(str, oldest))
    if version is None:
        return f"{name} is not installed; {name} >= {wanted} is needed; {REMEDY}"
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None or (int(numbers[1]), int(numbers[2])) < oldest:
        return f"{name} {version} is too old; {name} >= {wanted} is needed; {REMEDY}"
    return None
