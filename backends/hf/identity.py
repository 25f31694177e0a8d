"""Which model this is: its name, a hash of what it is made of, its number format and its device."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from paceline.backends.hf.engine import Engine


def identity(engine: Engine) -> str:
    """Return one line that is the same in every process for the same model on the same kind of device.

    A folder is known by its place and its config.json; weights that are replaced there, all else unchanged, are not
    told apart. A model of the hub is known by its commit.
    """
    folder = Path(engine.name).expanduser()
    name = str(folder.resolve()) if folder.is_dir() else engine.name
    dtype = str(engine.model.dtype).removeprefix("torch.")
    return f"{name} {_version(engine, folder)} {dtype} {_device(engine.device)}"


def _version(engine: Engine, folder: Path) -> str:
    settings = folder / "config.json"
    if settings.is_file():
        return _digest(settings.read_bytes())
    commit = getattr(engine.model.config, "_commit_hash", None)
    if commit:
        return str(commit)[:12]
    made_of = engine.model.config.to_dict()
    made_of.pop("transformers_version", None)
    return _digest(json.dumps(made_of, sort_keys=True, default=str).encode())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def _device(device: torch.device) -> str:
    """Return the kind of device, without the number that tells equal ones apart."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
