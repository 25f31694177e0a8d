"""Checkpoints and the finished folders, written so that a reader never meets half a file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from paceline.backends.distillation.muon import Pair
from paceline.backends.torch.host import no_progress_bars


@dataclass
class State:
    """Progress of a run.

    Attributes:
        seconds: Of the stage, spent in steps.
        ends_s: When the stage ends, if that is before its time is up.
    """

    stage: str = "seed"
    step: int = 0
    seconds: float = 0.0
    tokens: int = 0
    ends_s: float | None = None
    curve: list[dict[str, float | str]] = field(default_factory=list)


def save(
    out: Path, state: State, models: Mapping[str, LlamaForCausalLM], optimisers: Mapping[str, Pair]
) -> None:
    """Write a checkpoint beside the last one, point to it, and only then drop the old ones."""
    name = f"{state.stage}-{state.step:06d}"
    folder = out / "checkpoints" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for key, model in models.items():
        tensors = {n: p.detach().contiguous().clone() for n, p in model.named_parameters()}
        save_file(tensors, folder / f"{key}.safetensors")
        (folder / f"{key}.json").write_text(json.dumps(model.config.to_dict(), indent=1, default=str))
    for key, optimiser in optimisers.items():
        save_file(optimiser.state(), folder / f"{key}.optimiser.safetensors")
    pointer = out / "state.json.new"
    pointer.write_text(json.dumps({"checkpoint": name, **asdict(state)}, indent=1) + "\n")
    pointer.replace(out / "state.json")
    for old in (out / "checkpoints").iterdir():
        if old.name != name:
            shutil.rmtree(old)


def load(out: Path) -> tuple[State, dict[str, LlamaForCausalLM], dict[str, dict[str, Tensor]]] | None:
    """Return the last checkpoint (state, models, optimiser tensors), or None where there is none."""
    if not (out / "state.json").exists():
        return None
    data = json.loads((out / "state.json").read_text())
    folder = out / "checkpoints" / data.pop("checkpoint")
    models = {}
    for path in sorted(folder.glob("*.json")):
        model = LlamaForCausalLM(LlamaConfig(**json.loads(path.read_text()))).float()
        missing, unexpected = model.load_state_dict(load_file(path.with_suffix(".safetensors")), strict=False)
        if unexpected or set(missing) - {"lm_head.weight"}:
            raise ValueError(f"{path.stem}: the checkpoint does not fit its configuration")
        model.tie_weights()
        models[path.stem] = model
    memory = {p.name.split(".")[0]: load_file(p) for p in folder.glob("*.optimiser.safetensors")}
    return State(**data), models, memory


def export(folder: Path, models: Mapping[str, LlamaForCausalLM], tokenizer: PreTrainedTokenizerBase) -> None:
    """Write the pair as it is shipped: bfloat16, one folder a model, the tokenizer with the target only."""
    new = folder.with_name(folder.name + ".new")
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(new, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    for name, model in models.items():
        write_model(new / name, model)
    tokenizer.save_pretrained(new / "target")
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def write_model(folder: Path, model: LlamaForCausalLM) -> None:
    """Write a model in bfloat16."""
    copy = LlamaForCausalLM(model.config).to(torch.bfloat16)
    copy.load_state_dict(model.state_dict())
    copy.tie_weights()
    copy.config.dtype = torch.bfloat16
    with no_progress_bars():
        copy.save_pretrained(folder)


def read_pair(folder: Path) -> dict[str, LlamaForCausalLM]:
    """Return the models that `export` wrote there, in float32."""
    with no_progress_bars():
        return {
            config.parent.name: LlamaForCausalLM.from_pretrained(config.parent, dtype=torch.float32)
            for config in sorted(folder.glob("*/config.json"))
        }
