"""Training steps of drafts towards a target's logits, within a budget of time, with checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from paceline.backends.distillation.muon import Pair
from paceline.backends.distillation.store import State

Save = Callable[[], None]
Report = Callable[[Mapping[str, float | str]], None]
"""Told the means of the losses now and then."""


@dataclass(frozen=True)
class Plan:
    """The budget and the rates of one stage."""

    minutes: float
    steps: int = 1 << 30
    batch: int = 8
    length: int = 512
    matrix_lr: float = 0.012
    other_lr: float = 1.5e-3
    warm_up: int = 40
    constant: float = 0.5
    floor: float = 0.03
    draft_every: int = 2
    draft_matrix_lr: float = 0.02
    draft_other_lr: float = 4e-3
    checkpoint_minutes: float = 8.0

    def progress(self, state: State) -> float:
        """Return the spent share of the budget: time, or steps where they run out first."""
        limit = self.minutes * 60 if state.ends_s is None else min(self.minutes * 60, state.ends_s)
        if limit <= 0:
            return 1.0
        return max(state.seconds / limit, state.step / self.steps)

    def factor(self, state: State) -> float:
        """Return the factor on the rates: warm-up, constant, then linear down to the floor."""
        left = (1 - self.progress(state)) / (1 - self.constant)
        warm = (state.step + 1) / self.warm_up
        return min(1.0, warm, max(self.floor, self.floor + (1 - self.floor) * left))


@torch.no_grad()
def aims(teacher: Tensor, ids: Tensor, label_share: float) -> Tensor:
    """Return what a student should predict: the teacher's probabilities, mixed with the tokens that did follow.

    Shape (rows, length, vocabulary); the last position has no token after it and is the teacher's alone.
    """
    target_probs = teacher.softmax(-1)
    if label_share:
        target_probs[:, :-1] *= 1 - label_share
        share = target_probs.new_tensor(label_share).expand(ids.shape[0], ids.shape[1] - 1, 1)
        target_probs[:, :-1].scatter_add_(-1, ids[:, 1:, None], share)
    return target_probs


class SoftCrossEntropy(torch.autograd.Function):
    """The mean cross-entropy against probabilities, in few passes: the vocabulary is most of a small draft's work."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target_probs: Tensor) -> Tensor:
        """Return the mean over all positions of log sum exp z - p z."""
        ctx.save_for_backward(logits, target_probs)
        loss: Tensor = (logits.logsumexp(-1) - torch.linalg.vecdot(logits, target_probs)).mean()
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, None]:
        """Return the gradient: softmax z - p, over the number of positions."""
        logits, target_probs = ctx.saved_tensors
        gradient: Tensor = logits.softmax(-1).sub_(target_probs)
        gradient *= grads[0] / gradient[..., 0].numel()
        return gradient, None


def distance(student: Tensor, target_probs: Tensor) -> Tensor:
    """Return the cross-entropy of a student's logits against what it should predict."""
    loss: Tensor = SoftCrossEntropy.apply(student, target_probs)  # type: ignore[no-untyped-call]
    return loss


def teach(
    drafts: Mapping[str, LlamaForCausalLM],
    optimisers: Mapping[str, Pair],
    ids: Tensor,
    teacher: Tensor,
    factor: float,
    label_share: float = 0.1,
    places: Tensor | None = None,
) -> dict[str, float]:
    """Take one step with every draft towards the teacher's logits; return how far each was from what it should be.

    That distance is KL(p, q), where p is the teacher mixed with `label_share` of the tokens themselves; its mean is
    over the `places` that are true, shape (rows, length), by default over all.
    """
    chosen = slice(None) if places is None else places
    target_probs = aims(teacher, ids, label_share)[chosen]
    least = torch.special.entr(target_probs).sum(-1).mean().item()
    losses = {}
    for name, draft in drafts.items():
        loss = distance(draft(input_ids=ids, use_cache=False).logits[chosen], target_probs)
        loss.backward()  # type: ignore[no-untyped-call]
        optimisers[name].step(factor)
        losses[name] = loss.item() - least
    return losses


class Log:
    """The running means of the losses, reported and kept in the curve now and then."""

    def __init__(self, state: State, every: int, report: Report) -> None:
        self.state, self.every, self.report = state, every, report
        self.sums: dict[str, list[float]] = {}

    def add(self, losses: Mapping[str, float]) -> None:
        """Take the losses of one step; report where `every` steps are full."""
        for name, loss in losses.items():
            self.sums.setdefault(name, []).append(loss)
        if self.state.step % self.every:
            return
        s = self.state
        means: dict[str, float | str] = {name: round(fmean(v), 4) for name, v in self.sums.items()}
        s.curve.append(
            {"stage": s.stage, "step": s.step, "seconds": round(s.seconds), "tokens": s.tokens, **means}
        )
        self.report(s.curve[-1])
        self.sums.clear()


Step = Callable[[], tuple[Tensor, dict[str, float]]]
"""Takes a step, and returns the tokens that it learnt from and the losses."""


def run_steps(state: State, plan: Plan, step: Step, save: Save, report: Report, *, report_every: int) -> None:
    """Take steps until the budget of a stage is spent, saving now and then."""
    log, last_save = Log(state, report_every, report), state.seconds
    while plan.progress(state) < 1:
        began = time.monotonic()
        ids, losses = step()
        state.step += 1
        state.tokens += ids.numel()
        state.seconds += time.monotonic() - began
        log.add(losses)
        if state.seconds - last_save > plan.checkpoint_minutes * 60:
            last_save = state.seconds
            save()
