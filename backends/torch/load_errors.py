"""Errors before a model runs: libraries that are absent or too old, and whatever they raise while they load.

Folders are damaged in more ways than libraries foresee, and what they raise is of every class there is. So nothing is
listed: whatever comes, the files are looked at for the cause. Nothing here imports those libraries.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from paceline.core.environment import remedy
from paceline.core.errors import BackendError, PacelineError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from paceline.backends.torch.config import ModelConfig


OLDEST = {"torch": (2, 6), "transformers": (5, 16)}
"""The first supported release of each library."""

BELOW = {"transformers": (6,)}
"""The first release of each library that is not supported, where there is one."""

NEWEST_TESTED: Final = "5.24.0"
"""The newest transformers that the tests were run with: the one in constraints.txt."""

REMEDY = remedy("hf")


def missing_libraries() -> tuple[str, ...]:
    """Return a sentence for each library that is absent, too old or too new."""
    installed = ((name, oldest, _installed(name)) for name, oldest in OLDEST.items())
    return tuple(problem for entry in installed if (problem := _problem(*entry)))


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
    needed = ".".join(map(str, oldest))
    if version is None:
        return f"{name} is not installed; {name} >= {needed} is needed; {REMEDY}"
    if _numbers(version) < oldest:
        return f"{name} {version} is too old; {name} >= {needed} is needed; {REMEDY}"
    limit = BELOW.get(name)
    if limit is not None and _numbers(version) >= limit:
        return f"{name} {version} is too new; {name} < {'.'.join(map(str, limit))} is needed; {REMEDY}"
    return None


_FILES: Final = (
    "config.json",
    "generation_config.json",
    "model.safetensors.index.json",
    "tokenizer_config.json",
    "tokenizer.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "processor_config.json",
)
"""Files that transformers may read of a folder as JSON."""

LARGEST_JSON: Final = 64 * 2**20
"""Bytes; the index of a model with ten thousand experts has a tenth of that, the largest tokenizers half."""

_MEMORY: Final = ("out of memory", "can't allocate memory", "not enough memory")


@contextmanager
def explained(config: ModelConfig) -> Iterator[None]:
    """Turn whatever is raised while a model is made ready into a BackendError with the cause and the remedy."""
    try:
        yield
    except PacelineError:
        raise
    except BaseException as problem:
        # What panics in the Rust of tokenizers or safetensors is no Exception.
        if not isinstance(problem, Exception) and type(problem).__name__ != "PanicException":
            raise
        raise BackendError(
            f"{config.backend}: cannot load {config.model!r} as a causal language model. {_cause(config, problem)}."
        ) from problem


def read_json(path: Path) -> dict[str, Any]:
    """Return the mapping in a file.

    Raises:
        ValueError: It is damaged; says how.
        OSError: It cannot be read.
    """
    if not path.is_file():
        raise ValueError("it is no regular file")
    if path.stat().st_size > LARGEST_JSON:
        raise ValueError(f"it has more than {LARGEST_JSON // 2**20} MiB")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    except ValueError as problem:
        raise ValueError(f"it is not JSON ({problem})") from None
    if not isinstance(value, dict):
        raise ValueError(f"it holds a {type(value).__name__}, not a mapping")  # noqa: TRY004 - of the file, not of a call
    return value


def damaged_file(folder: Path, names: Sequence[str] = _FILES) -> str | None:
    """Return in a sentence which JSON file of a model's folder is damaged, and how; None if none is."""
    for name in names:
        if not (folder / name).exists():
            continue
        try:
            read_json(folder / name)
        except (OSError, ValueError) as problem:
            return f"The file {name} is damaged: {problem}; copy it again from where the model came from"
    return None


def first_line(problem: BaseException) -> str:
    """Return the first line of what an exception says, and the next where that only announces it; or its class."""
    lines = (str(problem).strip() or type(problem).__name__).splitlines()
    said = lines[0]
    if said.endswith(":") and len(lines) > 1:
        said = f"{said} {lines[1].strip()}"
    return said.rstrip(".")


def _cause(config: ModelConfig, problem: BaseException) -> str:
    """Say in one or two sentences what is in the way and what to do."""
    said = first_line(problem)
    folder = Path(config.model).expanduser()
    if "Unrecognized configuration class" in said:
        return "It is another kind of model (encoder-decoder, or encoder); use a decoder-only text model"
    if folder.is_dir():
        return _in_folder(folder, problem, said)
    if config.model.startswith((".", "/", "~")):
        return "There is no such folder; name an existing one, or a model of the Hugging Face hub"
    return _from_hub(problem, said)


def _from_hub(problem: BaseException, said: str) -> str:
    if not isinstance(problem, OSError):
        return said
    if "safetensors" in said:
        return "It has no .safetensors weights, and pickled weights are never loaded; name a revision that has them"
    return f"No such folder, and no such model from the hub ({said}); check name, network and access rights"


def _in_folder(folder: Path, problem: BaseException, said: str) -> str:
    if not (folder / "config.json").is_file():
        return "The folder has no config.json; name a folder written by `save_pretrained`"
    damage = damaged_file(folder)
    if damage is not None:
        return damage
    if isinstance(problem, MemoryError) or any(word in str(problem).lower() for word in _MEMORY):
        return f"There is not enough memory for it ({said}); use a smaller `dtype`, or another device"
    kind = "" if said == type(problem).__name__ else f"{type(problem).__name__}: "
    return (
        f"transformers raised {kind}{said}; a value in config.json, generation_config.json or the tokenizer's files "
        "does not fit, so compare them with where the model came from"
    )
