"""The order of the stages, from nothing or from a first target to a finished pair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from paceline.backends.distillation import store
from paceline.backends.distillation.muon import Pair
from paceline.backends.distillation.shape import Shape, create
from paceline.backends.distillation.store import State
from paceline.backends.distillation.training import Plan
from paceline.backends.torch.host import no_progress_bars

from . import corpus, models
from .distil import Mixture, Sampling, train_drafts
from .tokenizer import load_tokenizer, train_tokenizer
from .train import text_source, train_target

SEED_PLAN = Plan(minutes=0, length=256, matrix_lr=0.02, other_lr=3e-3, constant=1.0 - 1e-9)
TARGET_PLAN = Plan(minutes=0)
DISTIL_PLAN = Plan(minutes=0, warm_up=20, constant=0.3, draft_matrix_lr=0.02, draft_other_lr=4e-3)
SEED_SHARE = 0.15


@dataclass(frozen=True)
class Options:
    """Choices of a user about a run."""

    out: Path
    minutes: float = 240.0
    distil_minutes: float = 60.0
    start: Path | None = None
    pair: Path | None = None
    only: tuple[str, ...] = ()
    docs: Path | None = None
    stdlib: Path | None = None
    export: Path | None = None
    seed: int = 1
    target: Shape = models.TARGET
    drafts: tuple[tuple[str, Shape], ...] = tuple(models.DRAFTS.items())
    seed_plan: Plan = SEED_PLAN
    target_plan: Plan = TARGET_PLAN
    distil_plan: Plan = DISTIL_PLAN
    sampling: Sampling = field(default_factory=Sampling)

    @property
    def pair_folder(self) -> Path:
        """The folder where the finished pair is written, and a usable one at every checkpoint."""
        return self.export or self.out / "pair"


class Run:
    """One run: its text, its models and the point it has reached."""

    def __init__(self, options: Options) -> None:
        self.options = options
        documents = corpus.find_documents(options.docs, options.stdlib)
        self.training = [d for d in documents if not d.held_out]
        self.held_out = [d for d in documents if d.held_out]
        self.tokenizer = self._tokenizer()
        self.tokens = corpus.encode(self.tokenizer, self.training)
        self.state = State()
        self.models: dict[str, LlamaForCausalLM] = {}
        self.optimisers: dict[str, Pair] = {}

    def _tokenizer(self) -> PreTrainedTokenizerBase:
        own = self.options.out / "tokenizer"
        if self.options.pair is not None:
            return load_tokenizer(self.options.pair / "target")
        if self.options.start is not None:
            return load_tokenizer(self.options.start)
        if not own.exists():
            train_tokenizer((d.text for d in self.training), self.options.target.vocabulary).save_pretrained(
                own
            )
        return load_tokenizer(own)

    def save(self) -> None:
        """Write a checkpoint and, once there are drafts, a usable pair."""
        store.save(self.options.out, self.state, self.models, self.optimisers)
        if len(self.models) > 1:
            store.export(self.options.pair_folder, self.models, self.tokenizer)

    def resume(self) -> None:
        """Take up the last checkpoint, or make the first models."""
        checkpoint = store.load(self.options.out)
        if checkpoint is not None:
            self.state, self.models, memory = checkpoint
            self._new_optimisers()
            for name, tensors in memory.items():
                self.optimisers[name].load(tensors)
        elif self.options.pair is not None:
            pair = store.read_pair(self.options.pair)
            if unknown := set(self.options.only) - pair.keys():
                raise ValueError(f"the pair holds {', '.join(pair)}, and no {', '.join(sorted(unknown))}")
            trained = ("target", *(self.options.only or pair))
            self.models = {name: model for name, model in pair.items() if name in trained}
            self._enter_distil_stage()
        elif self.options.start is not None:
            with no_progress_bars():
                model = LlamaForCausalLM.from_pretrained(self.options.start, dtype=torch.float32)
            self._enter_target_stage(model)
        else:
            shape = self.options.target
            self.models = {"target": create(replace(shape, layers=min(2, shape.layers)), self.options.seed)}
            self._new_optimisers()

    def _enter_target_stage(self, model: LlamaForCausalLM) -> None:
        """Bring the target to its final shape, add the drafts and begin the target stage."""
        shape = self.options.target
        if model.config.intermediate_size > shape.inner:
            sample = text_source(self.tokens, self.options.target_plan, self.options.seed)(0)
            model = models.prune(model, shape.inner, sample)
        if model.config.num_hidden_layers < shape.layers:
            model = models.grow(model, shape.layers)
        self.models = {"target": model}
        for i, (name, draft) in enumerate(self.options.drafts):
            self.models[name] = create(draft, self.options.seed + 1 + i)
        self.state = State(stage="target", tokens=self.state.tokens, curve=self.state.curve)
        self._new_optimisers()

    def _new_optimisers(self) -> None:
        options = self.options
        plans = {"seed": options.seed_plan, "target": options.target_plan}
        plan = plans.get(self.state.stage, options.distil_plan)
        self.optimisers = {}
        for name, model in self.models.items():
            if name == "target" and plan is options.distil_plan:
                continue
            rates = (plan.matrix_lr, plan.other_lr)
            if name != "target":
                rates = (plan.draft_matrix_lr, plan.draft_other_lr)
            self.optimisers[name] = Pair(model, *rates)

    def train(self) -> None:
        """Run the stages that are still to do, up to and with the target stage."""
        share = 0.0 if self.options.start is not None else SEED_SHARE
        if self.state.stage == "seed":
            self._stage(replace(self.options.seed_plan, minutes=self.options.minutes * share))
            self._enter_target_stage(self.models["target"])
            self.save()
        if self.state.stage == "target":
            self._stage(replace(self.options.target_plan, minutes=self.options.minutes * (1 - share)))
            self.save()
            self._enter_distil_stage()
        if self.state.stage == "distil":
            self._distil()
            self.save()

    def _enter_distil_stage(self) -> None:
        """Fix the target as it is shipped, rounded to bfloat16, and begin the stage of the drafts."""
        target = self.models["target"]
        target.to(torch.bfloat16).float()
        self.state = State(stage="distil", tokens=self.state.tokens, curve=self.state.curve)
        self._new_optimisers()

    def _distil(self) -> None:
        options = self.options
        plan = replace(options.distil_plan, minutes=options.distil_minutes)
        mixture = Mixture(self.models["target"], self.tokens, options.sampling, plan, options.seed)
        train_drafts(self.state, self.models, self.optimisers, mixture, plan, self.save)

    def _stage(self, plan: Plan) -> None:
        source = text_source(self.tokens, plan, self.options.seed)
        train_target(self.state, self.models, self.optimisers, source, plan, self.save)


def parameters(models_by_name: Mapping[str, LlamaForCausalLM]) -> dict[str, int]:
    """Return the number of parameters of each model, tied ones counted once."""
    return {name: sum(p.numel() for p in model.parameters()) for name, model in models_by_name.items()}
