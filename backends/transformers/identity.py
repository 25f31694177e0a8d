"""Which model this is: its name, a hash of what it is made of, its number format and its device."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from paceline.backends.transformers.host.model import commit_of, described


def identity(name: str, model: Any, device: torch.device) -> str:
    """Return one line that is the same in every process for the same model on the same kind of device.

    A folder is known by its place and its config.json; weights that are replaced there, all else unchanged, are not
    told apart. A model of the hub is known by its commit.
    """
    folder = Path(name).expanduser()
    place = str(folder.resolve()) if folder.is_dir() else name
    dtype = str(model.dtype).removeprefix("torch.")
    return f"{place} {_version(model.config, folder)} {dtype} {_device(device)}"


def _version(config: Any, folder: Path) -> str:
    settings = folder / "config.json"
    if settings.is_file():
        return _digest(settings.read_bytes())
    commit = commit_of(config)
    if commit:
        return commit[:12]
    return _digest(json.dumps(described(config), sort_keys=True, default=str).encode())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def _device(device: torch.device) -> str:
    """Return the kind of device, without the number that tells equal ones apart."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
