"""Models of the graph backend as targets and drafts: in memory, loaded, or looked at before.

Everything that can be refused without the weights is refused before them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import torch

from paceline.backends.graph.cuda.engine import TIERS
from paceline.backends.graph.cuda.models import open_draft, open_target
from paceline.backends.graph.cuda.sampling import sampling_kind
from paceline.backends.graph.engine import MARGIN, GraphEngine, context_of, require_packing
from paceline.backends.graph.shape import read_shape
from paceline.backends.torch import loading
from paceline.backends.torch.draft import DraftModel
from paceline.backends.torch.readiness import ModelInspection, inspect_model, with_chat_remark, with_pairing
from paceline.backends.torch.target import TargetModel
from paceline.core.errors import BackendError
from paceline.core.records import Capabilities

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from paceline.backends.graph.config import GraphConfig
    from paceline.backends.graph.cuda.models import Options
    from paceline.core.config.blocks import Readiness
    from paceline.core.config.run import RunConfig
    from paceline.core.protocols import Draft, Target


class GraphOptions(TypedDict, total=False):
    """The arguments of `GraphEngine` after the model; see there."""

    name: str | None
    max_context: int | None
    deterministic: bool
    packed: bool
    dtype: torch.dtype | None
    huge_pages: bool
    choose_threads: bool
    consume: bool


class GraphTarget(TargetModel):
    """A Llama-shaped model whose output is wanted, greedily or drawn.

    Any gamma runs on the CPU, so `capabilities.gammas` is None: lengths are plain integers there, no shape is fixed.

    Args:
        model: A Llama, Mistral, Qwen2 or Qwen3 of transformers, on its device, in its dtype.
        tokenizer: Its tokenizer; without one, prompts are tokens.
        options: See `GraphEngine`.

    Raises:
        BackendError: The model cannot be run (see `GraphEngine`).
    """

    engine: GraphEngine

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: Any = None,
        **options: Unpack[GraphOptions],
    ) -> None:
        super().__init__(GraphEngine(model, **options), tokenizer)


class GraphDraft(DraftModel):
    """A Llama-shaped model that proposes its own continuation, greedily or drawn.

    Args:
        model: A Llama, Mistral, Qwen2 or Qwen3 of transformers, on its device, in its dtype.
        tokenizer: Its tokenizer, if it should be compared with the target's.
        vocabulary: Propose only tokens below this: the target's `vocabulary`, where it is the smaller one.
        options: See `GraphEngine`.

    Raises:
        BackendError: The model cannot be run (see `GraphEngine`).
    """

    engine: GraphEngine

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: Any = None,
        *,
        vocabulary: int | None = None,
        **options: Unpack[GraphOptions],
    ) -> None:
        super().__init__(
            GraphEngine(model, **options),
            tokenizer,
            vocabulary=vocabulary,
        )


def load_target(config: GraphConfig) -> Target:
    """Load a target; on a GPU, one whose rounds are captured.

    Raises:
        BackendError: It cannot be loaded or run; says why and what to do.
    """
    loading.set_threads(config)
    model, tokenizer = _load(config)
    if model.device.type == "cuda":
        return loading.usable(open_target(model, tokenizer, **_captured(config)))
    return loading.usable(GraphTarget(model, tokenizer, **_options(config, target=True)))


def load_draft(config: GraphConfig, target: Target) -> Draft:
    """Load a draft; one that does not speak the target's tokens gets its text re-encoded.

    Raises:
        BackendError: It cannot be loaded or run.
    """
    loading.keep_threads(config)
    model, tokenizer = _load(config)
    draft: DraftModel
    if model.device.type == "cuda":
        draft = open_draft(model, tokenizer, target=target, **_captured(config))
    else:
        draft = GraphDraft(model, tokenizer, vocabulary=target.vocabulary, **_options(config, target=False))
    return loading.fitted(loading.usable(draft), target)


def check_settings(config: GraphConfig, settings: Any) -> None:
    """Refuse a model by what its config.json says.

    Raises:
        BackendError: The backend cannot run it, or not for so long a context.
    """
    context_of(read_shape(settings, config.model), config.max_context, config.model)


def require_cpu(config: GraphConfig) -> None:
    """Refuse what there is on the CPU only, where the model is on a GPU.

    Raises:
        BackendError: `deterministic` or `dtype: int8` is asked for.
    """
    if config.deterministic:
        raise BackendError(
            "graph: `deterministic` is promised on the CPU only; on a GPU the kernels change with the length of a "
            "block. Leave it out, or use `device: cpu`"
        )
    if config.dtype == "int8":
        raise BackendError(
            "graph: `dtype: int8` is computed on the CPU only. Use `dtype: bfloat16`, or `device: cpu`"
        )


def _load(config: GraphConfig) -> tuple[Any, Any]:
    """Return model and tokenizer; on the CPU the model as it is stored, since each matrix is converted when packed."""
    check_settings(config, loading.load_config(config))
    on_cpu = loading.device_of(config).type == "cpu"
    stored = config.model_copy(update={"dtype": "auto"}) if on_cpu else config
    return loading.load_model(stored), loading.load_tokenizer(config)


def _options(config: GraphConfig, *, target: bool) -> GraphOptions:
    return {
        "name": config.model,
        "max_context": config.max_context,
        "deterministic": config.deterministic,
        "dtype": None if config.dtype == "auto" else getattr(torch, config.dtype),
        "huge_pages": config.huge_pages,
        "choose_threads": target and config.threads == "auto",
        "consume": True,
    }


def _captured(config: GraphConfig) -> Options:
    require_cpu(config)
    return {"name": config.model, "max_context": config.max_context, "consume": True}


def check_target(config: GraphConfig, run: RunConfig) -> Readiness:
    """Tell what can be known of a target."""
    inspection = _look(config)
    captured = inspection.device is not None and inspection.device.type == "cuda"
    if captured:
        inspection.attempt(lambda: sampling_kind(run.generation.sampling()))
    readiness = with_chat_remark(_readiness(inspection, config, run), inspection)
    return (
        replace(readiness, capabilities=Capabilities(gammas=TIERS, sampling=True)) if captured else readiness
    )


def check_draft(config: GraphConfig, run: RunConfig, target: Readiness) -> Readiness:
    """Tell what can be known of a draft for `target`."""
    return with_pairing(_readiness(_look(config), config, run), target)


def _look(config: GraphConfig) -> ModelInspection:
    def refuse(settings: Any) -> None:
        check_settings(config, settings)

    inspection = inspect_model(config, refuse)
    device = inspection.device
    if device is not None and device.type == "cuda":
        inspection.attempt(lambda: require_cpu(config))
    elif device is not None and config.dtype == "int8":
        inspection.attempt(lambda: require_packing(config.model, torch.int8, device))
    return inspection


def _readiness(inspection: ModelInspection, config: GraphConfig, run: RunConfig) -> Readiness:
    if inspection.model is None:
        return inspection.readiness(cache=0)
    on_cpu = inspection.device is not None and inspection.device.type == "cpu"
    shape = read_shape(inspection.settings, config.model)
    room = context_of(shape, config.max_context, config.model) + MARGIN
    size = torch.float32.itemsize if inspection.dtype == torch.int8 else inspection.dtype.itemsize
    cache = 2 * shape.layers * shape.kv_heads * shape.head_dim * room * size
    return inspection.readiness(
        cache=cache * max(1, run.generation.prefix_caches or 0),
        nodes=MARGIN if on_cpu and not config.deterministic else 0,
    )
