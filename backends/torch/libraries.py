"""Which libraries the backend needs, and whether they are here; asks the installed metadata and imports nothing."""

from __future__ import annotations

import re
from importlib import metadata
from typing import Final

from paceline.core.environment import remedy

OLDEST = {"torch": (2, 6), "transformers": (5, 16)}
"""The first supported release of each library."""

BELOW = {"transformers": (6,)}
"""The first release of each library that is not supported, where there is one."""

NEWEST_TESTED: Final = "5.24.0"
"""The newest transformers that the tests were run with: the one in constraints.txt."""

REMEDY = remedy("hf")


def missing_libraries() -> tuple[str, ...]:
    """Return a sentence for each library that is absent, too old or too new."""
    found = ((name, oldest, _installed(name)) for name, oldest in OLDEST.items())
    return tuple(problem for entry in found if (problem := _problem(*entry)))


def untested_release() -> str | None:
    """Return in a sentence that the transformers which is here is newer than any that was tested; None otherwise."""
    version = _installed("transformers")
    if version is None or _numbers(version) <= _numbers(NEWEST_TESTED):
        return None
    return (
        f"transformers {version} is newer than {NEWEST_TESTED}, the newest that paceline was tested with; to go back, "
        f"run: pip install 'transformers<={NEWEST_TESTED}'"
    )


def _numbers(version: str) -> tuple[int, ...]:
    """Return what a version begins with, as numbers: (5, 24, 0) of 5.24.0.dev0."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _problem(name: str, oldest: tuple[int, int], version: str | None) -> str | None:
    wanted = ".".join(map(str, oldest))
    if version is None:
        return f"{name} is not installed; {name} >= {wanted} is needed; {REMEDY}"
    if _numbers(version) < oldest:
        return f"{name} {version} is too old; {name} >= {wanted} is needed; {REMEDY}"
    limit = BELOW.get(name)
    if limit is not None and _numbers(version) >= limit:
        return f"{name} {version} is too new; {name} < {'.'.join(map(str, limit))} is needed; {REMEDY}"
    return None
