"""Targets and drafts of models on a GPU; the entry for whoever has loaded one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from paceline.backends.graph.cuda.draft import CudaDraft
from paceline.backends.graph.cuda.engine import BlockEngine
from paceline.backends.graph.cuda.runner import CudaGraphRunner
from paceline.backends.graph.cuda.target import CudaTarget
from paceline.backends.torch.logits import require_finite
from paceline.core.errors import BackendError
from paceline.core.log import log

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from paceline.backends.graph.cuda.runner import Runner
    from paceline.core.protocols import Target


class Options(TypedDict, total=False):
    """See `BlockEngine`."""

    name: str | None
    max_context: int | None
    consume: bool
    tiers: tuple[int, ...]
    block: int


def open_target(
    model: PreTrainedModel,
    tokenizer: Any = None,
    *,
    warm: bool = True,
    runner: Runner | None = None,
    **options: Unpack[Options],
) -> CudaTarget:
    """Return a target whose rounds are programs.

    Args:
        model: A model of transformers, on its device, in its dtype.
        tokenizer: Its tokenizer; without one, prompts are tokens.
        warm: Build the programs of greedy decoding now, not when each is first needed.
        runner: Of the device; by default a new one.
        options: See `BlockEngine`.

    Raises:
        BackendError: See `BlockEngine`.
    """
    engine = _engine(model, runner or runner_for(model.device), options)
    made = CudaTarget(engine, tokenizer)
    if warm:
        made.warm()
        log.info("programs_built", model=engine.name, role="target", programs=engine.runner.builds)
    return made


def open_draft(
    model: PreTrainedModel,
    tokenizer: Any = None,
    *,
    target: Target,
    warm: bool = True,
    **options: Unpack[Options],
) -> CudaDraft:
    """Return a draft whose rounds are programs, on the target's runner where that is of the same device.

    Args:
        model: A model of transformers, on its device, in its dtype.
        tokenizer: Its tokenizer, if it should be compared with the target's.
        target: Whose tokens are proposed.
        warm: As for a target.
        options: See `BlockEngine`; the tiers are the target's, if it has any.

    Raises:
        BackendError: See `BlockEngine`.
    """
    beside = isinstance(target, CudaTarget) and target.engine.device == model.device
    if isinstance(target, CudaTarget):
        options.setdefault("tiers", target.engine.tiers)
    runner = target.engine.runner if beside else runner_for(model.device)  # type: ignore[attr-defined]
    engine = _engine(model, runner, options)
    made = CudaDraft(engine, tokenizer, vocabulary=target.vocabulary)
    if warm:
        made.warm()
        log.info("programs_built", model=engine.name, role="draft", programs=engine.runner.builds)
    return made


def _engine(model: PreTrainedModel, runner: Runner, options: Options) -> BlockEngine:
    """Return an engine whose logits are numbers."""
    engine = BlockEngine(model, runner, **options)
    require_finite(engine.feed(engine.new_cache(), [0, 0]), engine)
    return engine


def runner_for(device: torch.device) -> Runner:
    """Return what captures programs on a device.

    Raises:
        BackendError: It is not a GPU that torch can capture on.
    """
    if device.type != "cuda":
        raise BackendError(
            f"graph: programs are captured on a CUDA device, found {device}; use device: cuda or cpu"
        )
    return CudaGraphRunner(device)
