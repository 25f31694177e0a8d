"""Files of a model's weights: their names, their headers, and whether they fit its config.json.

Only `.safetensors` files inside the model's own folder or repository count. Whatever else a folder can make
transformers read is refused: an index or a config.json that names a pickle or a file elsewhere, an adapter, shards of a
training run.

transformers fills missing weights with random numbers and leaves out those it does not expect, and goes on; a text from
such a model is noise. What is harmless to lack or to have (tied weights, the lists of the model classes) it knows best.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import torch
from huggingface_hub import file_exists, hf_hub_download, is_offline_mode, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError
from safetensors import SafetensorError, safe_open
from transformers import AutoModelForCausalLM

from paceline.backends.torch.host import text_config
from paceline.backends.torch.load_errors import first_line, read_json
from paceline.core.environment import remedy
from paceline.core.errors import BackendError
from paceline.core.gguf import gguf_file

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from paceline.backends.torch.config import ModelConfig


WHOLE: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"

_TRAINING_SHARD: Final = re.compile(r"shard-\d{5}-model-\d{5}-of-\d{5}\.safetensors")


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor as its header describes it: its number format as safetensors spells it, and its shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def numbers(self) -> int:
        """Count of its numbers."""
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        """Size of its numbers as they are stored."""
        bits = re.search(r"\d+", self.dtype)
        return self.numbers * (int(bits[0]) if bits else 8) // 8

    @property
    def floating(self) -> bool:
        """True if they are of a floating-point format."""
        return self.dtype.startswith(("F", "BF"))


def stored_tensors(config: ModelConfig, settings: Any) -> Mapping[str, Tensor] | None:
    """Return the tensors that would be read, by name; None where some of them have not been downloaded yet.

    Args:
        config: Names the model.
        settings: What its config.json says.

    Raises:
        BackendError: There are no weights, they would not be safetensors of its own, or a header is damaged.
    """
    if (file := gguf_file(config.model)) is not None:
        return _gguf_tensors(config, file)
    folder = Path(config.model).expanduser()
    place = _Place(config, folder if folder.is_dir() else None)
    tensors: dict[str, Tensor] = {}
    for name in _files(place, getattr(settings, "transformers_weights", None)):
        path = place.path(name)
        if path is None and place.offline:
            raise place.refusal(
                f"Its weights ({name}) are not on this machine, and nothing may be downloaded; allow it for once"
            )
        if path is None:
            return None
        tensors.update(_header(place, name, path))
    if not tensors:
        raise place.refusal("Its weights hold no tensor; copy them again from where the model came from")
    return tensors


def _gguf_tensors(config: ModelConfig, file: Path) -> Mapping[str, Tensor]:
    """Return the tensors of a GGUF file, by llama.cpp's names, as the float32 that transformers makes of them."""
    try:
        from gguf import GGUFReader  # noqa: PLC0415 - an extra
    except ImportError:
        raise _refused(
            config, f"It is a GGUF file, and packages that read those are missing: {remedy('gguf')}"
        ) from None
    if not file.is_file():
        raise _refused(config, f"There is no file {file}")
    try:
        tensors = GGUFReader(file).tensors
        return {tensor.name: Tensor("F32", tuple(map(int, tensor.shape[::-1]))) for tensor in tensors}
    except Exception as problem:
        raise _refused(
            config,
            f"{file.name} cannot be read as GGUF ({first_line(problem)}); copy it again from where it came from",
        ) from problem


def commit_in_cache(config: ModelConfig) -> str | None:
    """Return the commit of a model of the hub that was read from the cache; None for a folder."""
    if gguf_file(config.model) is not None or Path(config.model).expanduser().is_dir():
        return None
    cached = try_to_load_from_cache(config.model, "config.json", revision=config.revision or "main")
    return Path(cached).parent.name if isinstance(cached, str) else None


def _refused(config: ModelConfig, why: str) -> BackendError:
    return BackendError(f"{config.backend}: cannot load {config.model!r}. {why}.")


@dataclass(frozen=True, slots=True)
class _Place:
    """Place of the files of a model: a folder, or a repository of the hub if that is None."""

    config: ModelConfig
    folder: Path | None

    def refusal(self, why: str) -> BackendError:
        return _refused(self.config, why)

    def entry(self) -> str:
        """Return the file in which reading begins: all weights, or the index of several files."""
        if self.folder is None:
            return self._entry_of_repository()
        names = {path.name for path in self.folder.iterdir()}
        if "adapter_config.json" in names:
            raise self.refusal(
                "The folder holds an adapter (adapter_config.json), which is not a whole model; merge it into its "
                "model (peft's `merge_and_unload`, then `save_pretrained`) and name that folder"
            )
        if any(map(_TRAINING_SHARD.fullmatch, names)):
            raise self.refusal(
                "The folder holds the shards of a training run (shard-*.safetensors); save the model again with "
                "`save_pretrained`"
            )
        for name in (WHOLE, INDEX):
            if (self.folder / name).is_file():
                return name
        raise self.refusal(
            "The folder has no .safetensors weights, and pickled weights are never loaded; save it again with "
            "safetensors"
        )

    def _entry_of_repository(self) -> str:
        if self.path(INDEX, small=True) is not None:
            return INDEX
        # Asked before transformers is, which would load what somebody else has made of the pickles.
        if self.path(WHOLE) is None and not self._downloadable(WHOLE):
            here = " on this machine, nothing may be downloaded," if self.offline else ","
            raise self.refusal(
                f"It has no .safetensors weights{here} and pickled weights are never loaded; name a revision that has "
                f"them{', or allow the network for once' if self.offline else ''}"
            )
        return WHOLE

    def _downloadable(self, name: str) -> bool:
        if self.offline:
            return False
        try:
            return file_exists(self.config.model, name, revision=self.config.revision or "main")
        except Exception:  # noqa: BLE001 - of any library of the network; transformers says what is wrong with it
            return True

    @property
    def offline(self) -> bool:
        """True if nothing may be downloaded."""
        return self.config.local_files_only or is_offline_mode()

    def path(self, name: str, *, small: bool = False) -> Path | None:
        """Return a file; None where it is not on this machine. A small one is downloaded first."""
        if self.folder is not None:
            if not (self.folder / name).is_file():
                raise self.refusal(f"The file {name}, which holds weights, is missing; copy it as well")
            return self.folder / name
        if not small:
            cached = try_to_load_from_cache(self.config.model, name, revision=self.config.revision or "main")
            return Path(cached) if isinstance(cached, str) else None
        try:
            return Path(
                hf_hub_download(
                    self.config.model,
                    name,
                    revision=self.config.revision or "main",
                    local_files_only=self.config.local_files_only,
                )
            )
        except EntryNotFoundError:
            return None


def _files(place: _Place, explicit: object) -> tuple[str, ...]:
    """Return the names of the files that hold weights."""
    if explicit is None:
        name = place.entry()
    else:
        name = _own(place, "config.json", explicit, (".safetensors", ".safetensors.index.json"))
    if not name.endswith(".index.json"):
        return (name,)
    path = place.path(name, small=True)
    try:
        files = {} if path is None else read_json(path).get("weight_map")
    except (OSError, ValueError) as problem:
        raise place.refusal(f"The file {name} is damaged: {problem}; copy it again") from problem
    if not isinstance(files, dict) or not files:
        raise place.refusal(f"The file {name} is damaged: its `weight_map` names no tensors; copy it again")
    return tuple(dict.fromkeys(_own(place, name, file, (".safetensors",)) for file in files.values()))


def _own(place: _Place, where: str, name: object, endings: tuple[str, ...]) -> str:
    """Return the name of a file of the model's own that is no pickle."""
    text = str(name)
    path = PurePosixPath(text.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or "\0" in text:
        raise place.refusal(
            f"Its {where} names weights outside of the model: {text!r}; this is never followed"
        )
    if not isinstance(name, str) or not text.endswith(endings):
        raise place.refusal(
            f"Its {where} names {text!r} as weights, but only .safetensors files are loaded, and pickles never; save "
            "the model again with safetensors"
        )
    return text


def _header(place: _Place, name: str, path: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a file."""
    try:
        with safe_open(path, framework="pt") as opened:
            for key in opened.keys():  # noqa: SIM118 - it is no mapping
                part = opened.get_slice(key)
                yield key, Tensor(str(part.get_dtype()), tuple(part.get_shape()))
    except (SafetensorError, OSError, ValueError, OverflowError) as problem:
        raise place.refusal(
            f"The file {name} is damaged or cut short ({problem}); copy it again from where the model came from"
        ) from problem


LAYERS: Final = 1000
"""More layers than any model has; beyond it, each must have a tensor of its own before they are built."""

SLACK: Final = 4
"""A model may be this many times as large as its weights; missing tensors below that are counted after loading."""

REMEDY: Final = "They belong to different models, or were damaged; copy both from where the model came from"


def described(config: ModelConfig, settings: Any, stored: Mapping[str, Tensor] | None) -> Any:
    """Return the model that config.json describes, without any weights.

    Args:
        config: Names the model.
        settings: What its config.json says.
        stored: The tensors that its files hold, if they are there.

    Raises:
        BackendError: The model is out of proportion to its weights, so that filling it would take all memory, or they
            hold tensors of another kind or shape under the name of a weight.
    """
    layers = getattr(text_config(settings), "num_hidden_layers", 0)
    if stored is not None and isinstance(layers, int) and layers > max(LAYERS, len(stored)):
        raise _refusal(
            config, f"config.json speaks of {layers} layers, the weights have {len(stored)} tensors"
        )
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(settings, trust_remote_code=config.trust_remote_code)
    if stored is None or getattr(settings, "quantization_config", None) is not None:
        return model
    expected = sum(weight.numel() for weight in model.parameters())
    there = sum(tensor.numbers for tensor in stored.values())
    if expected > SLACK * there:
        raise _refusal(
            config, f"config.json describes a model of {expected} weights, and the files hold {there}"
        )
    _require_kinds(config, model, stored)
    return model


def _require_kinds(config: ModelConfig, model: Any, stored: Mapping[str, Tensor]) -> None:
    """Refuse tensors that bear the name of a weight and are of another kind; renamed ones are seen when loaded."""
    shapes = []
    for name, weight in model.named_parameters():
        tensor = stored.get(name)
        if tensor is None:
            continue
        if not tensor.floating:
            raise _refusal(
                config, f"the tensor {name} is of the format {tensor.dtype}, which is none of weights"
            )
        if tensor.shape != tuple(weight.shape):
            shapes.append((name, tensor.shape, tuple(weight.shape)))
    if shapes:
        raise _refusal(config, _other_shapes(shapes))


def require_complete(config: ModelConfig, info: Mapping[str, Any]) -> None:
    """Refuse a model of which not all was loaded, or not all that is in its files.

    Args:
        config: Names the model.
        info: What `from_pretrained(output_loading_info=True, ignore_mismatched_sizes=True)` tells.

    Raises:
        BackendError: Tensors are missing, left over, or of another shape; names some.
    """
    problems = []
    for key, what in (
        ("missing_keys", "are missing from the files"),
        ("unexpected_keys", "are not part of the model"),
    ):
        if info[key]:
            problems.append(f"{len(info[key])} tensors {what} ({_first_names(info[key])})")
    if info["mismatched_keys"]:
        problems.append(_other_shapes(info["mismatched_keys"]))
    problems += map(str, info["error_msgs"])
    if problems:
        raise _refusal(config, "; ".join(problems))


def _other_shapes(mismatches: Collection[tuple[str, Sequence[int], Sequence[int]]]) -> str:
    """Say which tensors have another shape: name, the one in the files, the one of the model."""
    shapes = [
        f"{name} is {list(stored)}, not {list(expected)}" for name, stored, expected in sorted(mismatches)
    ]
    return f"{len(shapes)} tensors have another shape ({_first_names(shapes)})"


def _first_names(names: Collection[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:3]) + (", ..." if len(listed) > 3 else "")


def _refusal(config: ModelConfig, why: str) -> BackendError:
    return BackendError(
        f"{config.backend}: the weights of {config.model!r} do not fit its config.json: {why}. {REMEDY}. A model that "
        "is meant to be so can be loaded with transformers and given to `HfTarget(model)`"
    )
