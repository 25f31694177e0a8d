"""Distil the drafts from the finished target, on its own continuations and on text.

A draft is asked for tokens along the target's output, not along a human's, so
three steps in four learn from what the target itself writes after real text:
three quarters of that greedily, the rest sampled at temperatures between 0.7 and 1.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import LlamaForCausalLM

from paceline.backends.distillation.muon import Pair
from paceline.backends.distillation.store import State
from paceline.backends.distillation.training import Plan, Save, run_steps, teach
from paceline.backends.transformers.host.cache import CACHE, new_cache

from .corpus import blocks
from .train import show


@dataclass(frozen=True)
class Sampling:
    """Settings by which continuations are drawn from the target."""

    rows: int = 32
    prefix: int = 64
    new: int = 192
    share: float = 0.35
    greedy: float = 0.75
    reserve: int = 1536


@torch.no_grad()
def continuations(
    target: LlamaForCausalLM, prefixes: Tensor, new: int, temperatures: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return the prefixes with `new` more tokens of the target each, and its logits at every position.

    Temperature 0 means greedy.  The logits, in bfloat16, lack the last
    position: nothing has been fed there yet.
    """
    cache = new_cache(target.config)
    ids, fed = prefixes, prefixes
    kept: list[Tensor] = []
    greedy = temperatures == 0
    divisor = torch.where(greedy, torch.ones_like(temperatures), temperatures)[:, None]
    for _ in range(new):
        logits = target(input_ids=fed, **{CACHE: cache}, use_cache=True).logits
        kept.append(logits.bfloat16())
        drawn = torch.multinomial((logits[:, -1] / divisor).softmax(-1), 1, generator=generator)
        fed = torch.where(greedy[:, None], logits[:, -1].argmax(-1, keepdim=True), drawn)
        ids = torch.cat((ids, fed), 1)
    return ids, torch.cat(kept, 1)


class Mixture:
    """A growing reserve of continuations, from which batches are drawn beside real text."""

    def __init__(
        self, target: LlamaForCausalLM, tokens: NDArray[np.uint16], sampling: Sampling, plan: Plan, seed: int
    ) -> None:
        self.target, self.tokens, self.sampling, self.plan, self.seed = target, tokens, sampling, plan, seed
        self.reserve: list[tuple[Tensor, Tensor]] = []
        self.seconds_sampling = 0.0

    def draw(self, number: int) -> None:
        """Add one batch of continuations, most of them greedy."""
        began, s = time.monotonic(), self.sampling
        prefixes = torch.from_numpy(blocks(self.tokens, s.prefix, s.rows, number, self.seed + 7))
        rng = np.random.default_rng([self.seed, number])
        temperatures = torch.from_numpy(rng.uniform(0.7, 1.0, s.rows)).float()
        temperatures[: int(s.rows * s.greedy)] = 0.0
        generator = torch.Generator().manual_seed(self.seed * 100_003 + number)
        ids, logits = continuations(self.target, prefixes, s.new, temperatures, generator)
        self.reserve += zip(ids[:, :-1], logits.clone(), strict=True)
        self.reserve = self.reserve[-s.reserve :]
        self.seconds_sampling += time.monotonic() - began

    @torch.no_grad()
    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return tokens and the target's logits: continuations, and text on every fourth step."""
        length = self.sampling.prefix + self.sampling.new
        size = max(1, self.plan.batch * self.plan.length // length)
        if step % 4 == 3 or not self.reserve:
            ids = torch.from_numpy(blocks(self.tokens, length, size, step, self.seed + 3))
            return ids, self.target(input_ids=ids, use_cache=False).logits
        rng = np.random.default_rng([self.seed, step, 5])
        rows = [
            self.reserve[i]
            for i in rng.choice(len(self.reserve), min(size, len(self.reserve)), replace=False)
        ]
        # The target was run on these when they were drawn; its logits are there for nothing.
        return torch.stack([ids for ids, _ in rows]), torch.stack([logits for _, logits in rows]).float()


def train_drafts(
    state: State,
    models: Mapping[str, LlamaForCausalLM],
    optimisers: Mapping[str, Pair],
    mixture: Mixture,
    plan: Plan,
    save: Save,
) -> None:
    """Train every draft until the budget is spent; the target does not change."""
    drafts = {name: model for name, model in models.items() if name != "target"}
    drawn, sampling_limit = state.step, mixture.sampling.share
    began_stage = time.monotonic()

    def step() -> tuple[Tensor, dict[str, float]]:
        nonlocal drawn
        # Sampling keeps pace with training and stops for the last part, where every second goes into learning.
        spent = time.monotonic() - began_stage
        if plan.progress(state) < 0.8 and mixture.seconds_sampling <= sampling_limit * spent:
            mixture.draw(drawn)
            drawn += 1
        ids, teacher = mixture.batch(state.step)
        return ids, teach(drafts, optimisers, ids, teacher, plan.factor(state), label_share=0.3)

    run_steps(state, plan, step, save, show, report_every=20)
