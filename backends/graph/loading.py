"""Loads models for the graph backend; everything that can be refused without the weights is refused before them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from paceline.backends.graph.cuda.opening import open_draft, open_target
from paceline.backends.graph.engine import context_of
from paceline.backends.graph.roles import GraphDraft, GraphTarget
from paceline.backends.graph.shape import read_shape
from paceline.backends.torch import loading
from paceline.core.errors import BackendError

if TYPE_CHECKING:
    from paceline.backends.graph.config import GraphConfig
    from paceline.backends.graph.cuda.opening import Options
    from paceline.backends.graph.options import GraphOptions
    from paceline.backends.torch.draft import ModelDraft
    from paceline.core.protocols import Draft, Target


def load_target(config: GraphConfig) -> Target:
    """Load a target; on a GPU, one whose rounds are captured.

    Raises:
        BackendError: It cannot be loaded or run; says why and what to do.
    """
    _check(config)
    model, tokenizer = loading.load_model(config), loading.load_tokenizer(config)
    if model.device.type == "cuda":
        return loading.usable(open_target(model, tokenizer, **_captured(config)))
    return loading.usable(GraphTarget(model, tokenizer, **_options(config)))


def load_draft(config: GraphConfig, target: Target) -> Draft:
    """Load a draft; one that does not speak the target's tokens gets its text re-encoded.

    Raises:
        BackendError: It cannot be loaded or run.
    """
    _check(config)
    model, tokenizer = loading.load_model(config), loading.load_tokenizer(config)
    draft: ModelDraft
    if model.device.type == "cuda":
        draft = open_draft(model, tokenizer, target=target, **_captured(config))
    else:
        draft = GraphDraft(model, tokenizer, vocabulary=target.vocabulary, **_options(config))
    return loading.fitted(loading.usable(draft), target)


def check_settings(config: GraphConfig, settings: Any) -> None:
    """Refuse a model by what its config.json says.

    Raises:
        BackendError: The backend cannot run it, or not for so long a context.
    """
    context_of(read_shape(settings, config.model), config.max_context, config.model)


def require_cpu(config: GraphConfig) -> None:
    """Refuse what is promised on the CPU only, where the model is on a GPU.

    Raises:
        BackendError: `deterministic` is asked for.
    """
    if config.deterministic:
        raise BackendError(
            "graph: `deterministic` is promised on the CPU only; on a GPU the kernels change with the length of a "
            "block. Leave it out, or use `device: cpu`"
        )


def _check(config: GraphConfig) -> None:
    check_settings(config, loading.load_config(config))


def _options(config: GraphConfig) -> GraphOptions:
    return {
        "name": config.model,
        "max_context": config.max_context,
        "deterministic": config.deterministic,
        "consume": True,
    }


def _captured(config: GraphConfig) -> Options:
    require_cpu(config)
    return {"name": config.model, "max_context": config.max_context, "consume": True}
