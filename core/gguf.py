"""GGUF files of models: names on a command line or in a run file that stand for one."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Final

from paceline.core.errors import BackendError

SUFFIX: Final = ".gguf"
FIRST_SHARD: Final = "-00001-of-"


def gguf_file(model: str) -> Path | None:
    """Return the GGUF file that a model's name stands for, None where it stands for something else.

    Args:
        model: The file itself, a folder that holds one beside no config.json, or an installed Python package that does.

    Raises:
        BackendError: There are several.
    """
    path = Path(model).expanduser()
    if path.suffix == SUFFIX:
        return path
    if path.is_dir():
        return None if (path / "config.json").exists() else _only(path)
    try:
        package = find_spec(model) if model.isidentifier() else None
    except (ImportError, ValueError):
        return None
    return _only(Path(places[0])) if package and (places := package.submodule_search_locations) else None


def _only(folder: Path) -> Path | None:
    files = sorted(folder.glob(f"*{SUFFIX}"))
    if len(files) > 1 and FIRST_SHARD not in files[0].name:
        raise BackendError(
            f"{folder} holds {len(files)} GGUF files; name one of them: {', '.join(file.name for file in files)}"
        )
    return files[0] if files else None
