"""What can be known of a model of the graph backend before its weights are read, by the rules that it is refused by."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from paceline.backends.graph.cuda.taste import kind_of
from paceline.backends.graph.cuda.tiers import TIERS
from paceline.backends.graph.engine import MARGIN, context_of
from paceline.backends.graph.loading import check_settings, require_cpu
from paceline.backends.graph.shape import read_shape
from paceline.backends.torch.readiness import Look, conversing, look, paired
from paceline.core.records import Capabilities

if TYPE_CHECKING:
    from paceline.backends.graph.config import GraphConfig
    from paceline.core.config.blocks import Readiness
    from paceline.core.config.run import RunConfig


def check_target(config: GraphConfig, run: RunConfig) -> Readiness:
    """Tell what can be known of a target."""
    seen = _look(config)
    captured = seen.device is not None and seen.device.type == "cuda"
    if captured:
        seen.attempt(lambda: kind_of(run.generation.sampling()))
    found = conversing(_checked(seen, config), seen)
    return replace(found, capabilities=Capabilities(gammas=TIERS, sampling=True)) if captured else found


def check_draft(config: GraphConfig, run: RunConfig, target: Readiness) -> Readiness:
    """Tell what can be known of a draft for `target`."""
    del run
    return paired(_checked(_look(config), config), target)


def _look(config: GraphConfig) -> Look:
    def refuse(settings: Any) -> None:
        check_settings(config, settings)

    seen = look(config, refuse)
    if seen.device is not None and seen.device.type == "cuda":
        seen.attempt(lambda: require_cpu(config))
    return seen


def _checked(seen: Look, config: GraphConfig) -> Readiness:
    if seen.model is None:
        return seen.readiness(cache=0)
    shape = read_shape(seen.settings, config.model)
    room = context_of(shape, config.max_context, config.model) + MARGIN
    size = seen.dtype.itemsize
    # The matrices that are packed lie beside those they were packed from; a look-up of tokens needs no packing.
    packed = seen.device == torch.device("cpu") and seen.dtype in {torch.float32, torch.bfloat16}
    copies = max(0, seen.weights - shape.vocabulary * shape.hidden * size) if packed else 0
    return seen.readiness(
        cache=2 * shape.layers * shape.kv_heads * shape.head_dim * room * size, copies=copies
    )
