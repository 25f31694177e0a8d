"""A folder that no other user of the machine can write to, for what processes of one user leave for each other.

Names in the machine's temporary folder can be guessed, and taken first by somebody else.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path


def private_folder(name: str) -> Path:
    """Return a folder of the user's cache, made if need be: `$XDG_CACHE_HOME/paceline`, or `~/.cache/paceline`.

    Args:
        name: Of the folder inside it.

    Raises:
        OSError: There is none, or others can write to it.
    """
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "paceline"
    except RuntimeError as error:  # a user without a home
        raise OSError(str(error)) from None
    folder = base / name
    for each in (base, folder):
        each.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = each.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
            raise PermissionError(f"{each} must be a folder of this user that nobody else can write to")
    return folder
