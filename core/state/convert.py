"""Copies what a state file of paceline 0.1 holds, which was JSON, into one of today.

python -m paceline.core.state.convert OLD NEW
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

from paceline.core.errors import PacelineError
from paceline.core.files import printable, read_input
from paceline.core.json_text import parse_json
from paceline.core.state.store import MAX_BYTES, StateStore


def convert(old: Path | str, new: Path | str) -> int:
    """Copy the entries of a state file of version 1, and return how many there are; `new` keeps what it has already.

    Raises:
        PacelineError: A file cannot be used; names it.
    """
    try:
        document = parse_json(read_input(old, PacelineError, most=MAX_BYTES))
        kind, version, entries = document["kind"], document["version"], dict(document["entries"])
    except (ValueError, KeyError, TypeError) as error:
        raise PacelineError(f"{printable(old)}: cannot be converted: {error!r}") from error
    if (kind, version) != ("paceline-state", 1):
        raise PacelineError(f"{printable(old)}: is no state file of version 1")
    store = StateStore(new)
    for key, entry in entries.items():
        store.update(key, partial(_kept, entry))
    return len(entries)


def _kept(entry: Any, there: Any) -> Any:
    return entry if there is None else there


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        sys.stdout.write(f"{convert(sys.argv[1], sys.argv[2])} entries copied\n")
    except PacelineError as problem:
        sys.exit(str(problem))
