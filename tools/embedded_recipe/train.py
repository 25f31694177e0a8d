"""Train the target on text and, in the same loop, the drafts on the target's logits."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaForCausalLM

from paceline.backends.distillation.muon import Pair
from paceline.backends.distillation.store import State
from paceline.backends.distillation.training import Plan, Save, run_steps, teach

from .corpus import blocks

Source = Callable[[int], Tensor]


def show(means: Mapping[str, float | str]) -> None:
    """Print the means of the losses."""
    print(time.strftime("%H:%M:%S"), means, flush=True)


def cross_entropy(logits: Tensor, ids: Tensor) -> Tensor:
    """Return the mean loss of predicting each token from those before it."""
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())


def text_source(tokens: NDArray[np.uint16], plan: Plan, seed: int) -> Source:
    """Return a function from the number of a step to its batch of text."""
    return lambda step: torch.from_numpy(blocks(tokens, plan.length, plan.batch, step, seed))


def train_target(
    state: State,
    models: Mapping[str, LlamaForCausalLM],
    optimisers: Mapping[str, Pair],
    source: Source,
    plan: Plan,
    save: Save,
) -> None:
    """Run one stage of training until its budget is spent; every model but the target is a draft."""
    target = models["target"]
    drafts = {name: model for name, model in models.items() if name != "target"}

    def step() -> tuple[Tensor, dict[str, float]]:
        factor, ids = plan.factor(state), source(state.step)
        logits = target(input_ids=ids, use_cache=False).logits
        loss = cross_entropy(logits, ids)
        loss.backward()  # type: ignore[no-untyped-call]
        optimisers["target"].step(factor)
        losses = {"target": loss.item()}
        if not np.isfinite(losses["target"]):
            raise FloatingPointError(
                "the loss is no longer a number; go on from the checkpoint with lower rates"
            )
        if drafts and state.step % plan.draft_every == 0:
            losses |= teach(drafts, optimisers, ids, logits.detach(), factor)
        return ids, losses

    run_steps(state, plan, step, save, show, report_every=10)
