"""A small draft for one target, distilled on what the target itself writes.

A draft is asked for tokens along the target's output, so that is what it learns from: texts of the target's own and the
prompts before them, with the target's logits for teacher. The vocabulary is cut behind the last token that the texts
need: tokenizers number their tokens by how early they were merged, so the frequent ones come first.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from random import Random
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch

from paceline.backends.distillation import store
from paceline.backends.distillation.answers import Answer, is_held_out, write_answers
from paceline.backends.distillation.muon import Pair
from paceline.backends.distillation.shape import Shape, create
from paceline.backends.distillation.store import State
from paceline.backends.distillation.training import Plan, run_steps, teach
from paceline.backends.torch import loading
from paceline.core.environment import versions
from paceline.core.errors import BackendError, ConfigError, PacelineError
from paceline.core.files import write_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor
    from transformers import LlamaForCausalLM

    from paceline.backends.torch.config import ModelConfig
    from paceline.core.decoder import SpeculativeDecoder

STAGE = "draft"
HEAD = 64
"""Of the attention heads; a draft narrower than this has one head."""

COVERED = 0.995
"""Share of the texts' tokens that a cut vocabulary must hold."""

ROUNDING = 256
WORTH_CUTTING = 0.75
"""A vocabulary is cut only to less than this share of it."""

LABEL_SHARE = 0.3
GAMMA = 4
"""Of the rounds whose expected length tells whether training still pays."""

PATIENCE = 10
"""Looks at the held-out texts whose mean is held against that of as many before them; one look is noisy."""

LEAST_GAIN = 0.01
"""By this share, or training comes to its end: the rates fall for another fifth of the time so far."""

LOOKS = 40
"""Looks at the held-out texts within the time that is allowed."""

MOST_HELD_OUT = 32


@dataclass(frozen=True, slots=True)
class Settings:
    """Choices about a draft and its training.

    Attributes:
        minutes: The most that training takes; writing the answers comes before.
        layers: Of the draft.
        hidden: Its width; by default a quarter of the target's.
        answer_tokens: The most tokens of an answer.
        length: The most tokens of prompt and answer that are learnt from together.
        rows: Texts in a step.
        seed: Of the first weights and of the order of texts.
    """

    minutes: float = 60.0
    layers: int = 1
    hidden: int | None = None
    answer_tokens: int = 256
    length: int = 512
    rows: int = 8
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished draft.

    Attributes:
        folder: Its place.
        acceptance: Share of the target's own tokens in held-out answers that it foresees, greedily.
        held_out, texts: Answers that it was judged by, and trained on.
        vocabulary: Its tokens, of so many of the target.
        parameters: Its weights, of so many of the target.
        steps, minutes: Of training.
        curve: What was measured on the way.
    """

    folder: str
    acceptance: float
    held_out: int
    texts: int
    vocabulary: tuple[int, int]
    parameters: tuple[int, int]
    steps: int
    minutes: float
    curve: Sequence[Mapping[str, float | str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Progress:
    """State of the work: answers written, or the share of the training's time, with the last measure."""

    stage: str
    done: float
    of: float
    acceptance: float | None = None


def train_draft(
    block: ModelConfig,
    decoder: SpeculativeDecoder,
    prompts: Sequence[Sequence[int]],
    out: Path,
    work: Path,
    settings: Settings,
    on_progress: Callable[[Progress], None],
) -> Trained:
    """Write answers, train a draft on them, and write its folder; what an earlier run has done is taken up.

    Args:
        block: The target.
        decoder: Writes the target's answers.
        prompts: Each as tokens.
        out: The draft's folder; nothing is there before the end.
        work: Where answers and checkpoints are kept on the way.
        settings: How it is made.
        on_progress: Told now and then.

    Raises:
        PacelineError: The target cannot be loaded or fails, the prompts are too few, or a file cannot be used.
    """
    held = sum(is_held_out(prompt) for prompt in prompts)
    if not 0 < held < len(prompts):
        raise _too_few(prompts)
    tokenizer = loading.load_tokenizer(block)
    if tokenizer is None:
        raise BackendError(
            "the target has no tokenizer, so nobody could tell that the draft speaks its tokens"
        )

    def wrote(count: int) -> None:
        on_progress(Progress("answers", count, len(prompts)))

    file = work / "answers.jsonl"
    try:
        answers = write_answers(decoder, prompts, file, settings.answer_tokens, wrote)
    except PacelineError:
        if file.is_file() and not file.stat().st_size:  # the target refused the first prompt
            file.unlink()
            work.rmdir()
        raise
    held_out = [answer for answer in answers if answer.held_out and answer.tokens][:MOST_HELD_OUT]
    texts = [answer for answer in answers if not answer.held_out and answer.tokens]
    if not held_out or not texts:
        raise _too_few(prompts)
    teacher = loading.load_model(block).eval().requires_grad_(requires_grad=False)
    size, width = teacher.get_input_embeddings().weight.shape
    kept = cut_vocabulary(texts, size)
    training = _Training(teacher, kept, texts, held_out, settings, on_progress)
    state, draft, optimiser = training.begin(work, _shape(teacher, kept, width, settings))

    def save() -> None:
        store.save(work, state, {STAGE: draft}, {STAGE: optimiser})

    training.run(state, draft, optimiser, save)
    save()
    trained = Trained(
        str(out),
        training.acceptance(draft),
        len(held_out),
        len(texts),
        (kept, size),
        (_parameters(draft), _parameters(teacher)),
        state.step,
        state.seconds / 60.0,
        state.curve,
    )
    _export(out, draft, tokenizer, card(trained, block, settings))
    return trained


def _too_few(prompts: Sequence[Sequence[int]]) -> ConfigError:
    return ConfigError(
        f"{len(prompts)} prompts are too few: a tenth of them is held out to judge the draft by; give 50 or more"
    )


def cut_vocabulary(texts: Sequence[Answer], size: int) -> int:
    """Return how many tokens a draft needs for these texts: the first ones, rounded up, or all."""
    tokens = sorted(token for text in texts for token in text.tokens)
    last = tokens[min(len(tokens) - 1, int(COVERED * len(tokens)))]
    kept = (last // ROUNDING + 1) * ROUNDING
    return kept if kept < WORTH_CUTTING * size else size


def expected_length(acceptance: float, gamma: int = GAMMA) -> float:
    """Return the tokens of a round of `gamma`: 1 + a + ... + a^gamma (Leviathan et al. 2023, equation 1)."""
    return sum(acceptance**place for place in range(gamma + 1))


class _Training:
    """One draft's way from texts to weights."""

    def __init__(
        self,
        teacher: Any,
        kept: int,
        texts: Sequence[Answer],
        held_out: Sequence[Answer],
        settings: Settings,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self.teacher, self.kept, self.settings = teacher, kept, settings
        self.texts = texts
        self.held_out = held_out
        self.on_progress = on_progress
        self.plan = Plan(
            minutes=settings.minutes,
            length=settings.length,
            warm_up=20,
            constant=0.6,
            checkpoint_minutes=min(1.0, settings.minutes / 10.0),
        )
        self.looked_s = 0.0
        self.measures: list[float] = []

    def begin(self, work: Path, shape: Shape) -> tuple[State, LlamaForCausalLM, Pair]:
        """Return what a checkpoint holds, or a draft with fresh weights."""
        checkpoint = store.load(work)
        if checkpoint is None:
            state, draft = State(stage=STAGE), create(shape, self.settings.seed)
        else:
            state, draft = checkpoint[0], checkpoint[1][STAGE]
            if draft.config.vocab_size != self.kept or draft.config.hidden_size != shape.hidden:
                raise ConfigError(f"{work}: holds a draft of another shape; remove the folder to begin anew")
        draft.to(self.teacher.device)
        optimiser = Pair(draft, self.plan.draft_matrix_lr, self.plan.draft_other_lr)
        if checkpoint is not None:
            optimiser.load(checkpoint[2][STAGE])
            self.looked_s = state.seconds
            self.measures = [float(entry["acceptance"]) for entry in state.curve if "acceptance" in entry]
        return state, draft, optimiser

    def run(self, state: State, draft: LlamaForCausalLM, optimiser: Pair, save: Callable[[], None]) -> None:
        """Take steps until the time is up, or training no longer pays."""

        def step() -> tuple[Tensor, dict[str, float]]:
            if state.seconds - self.looked_s >= 60.0 * self.plan.minutes / LOOKS:
                self._look(state, draft)
            ids, places = self._batch(state.step)
            with torch.no_grad():
                teacher = self.teacher(input_ids=ids, use_cache=False).logits[..., : self.kept].float()
            known = ids.clamp(max=self.kept - 1)
            factor = self.plan.factor(state)
            return known, teach(
                {STAGE: draft}, {STAGE: optimiser}, known, teacher, factor, LABEL_SHARE, places
            )

        run_steps(state, self.plan, step, save, lambda _means: None, report_every=20)

    def _look(self, state: State, draft: LlamaForCausalLM) -> None:
        """Measure the held-out acceptance, and bring training to its end where it has stopped growing."""
        self.looked_s = state.seconds
        self.measures.append(self.acceptance(draft))
        entry: dict[str, float | str] = {
            "step": state.step,
            "seconds": round(state.seconds),
            "acceptance": round(self.measures[-1], 4),
        }
        state.curve.append(entry)
        self.on_progress(Progress("training", state.seconds / 60.0, self.plan.minutes, self.measures[-1]))
        if state.ends_s is None and len(self.measures) >= 2 * PATIENCE:
            lengths = list(map(expected_length, self.measures[-2 * PATIENCE :]))
            if fmean(lengths[PATIENCE:]) < (1.0 + LEAST_GAIN) * fmean(lengths[:PATIENCE]):
                state.ends_s = 1.2 * state.seconds

    @torch.no_grad()
    def acceptance(self, draft: LlamaForCausalLM) -> float:
        """Return the share of the tokens of held-out answers that are the draft's first choice there."""
        right = total = 0
        for answer in self.held_out:
            before, tokens = _cut(answer, self.settings.length)
            ids = torch.tensor([before + tokens], device=draft.device)
            logits = draft(input_ids=ids.clamp(max=self.kept - 1), use_cache=False).logits[0]
            begin = max(1, len(before))
            right += int((logits[begin - 1 : -1].argmax(-1) == ids[0, begin:]).sum())
            total += ids.shape[1] - begin
        return right / max(1, total)

    def _batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return texts, shape (rows, longest), and the places whose next token the draft can say."""
        random = Random(f"{self.settings.seed}/{step}")
        chosen = (random.choice(self.texts) for _ in range(self.settings.rows))
        rows = [before + tokens for before, tokens in (_cut(text, self.settings.length) for text in chosen)]
        longest = max(map(len, rows))
        # What follows a text cannot be seen from within it, so any token will do there.
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=self.teacher.device)
        lengths = torch.tensor([len(row) for row in rows], device=self.teacher.device)
        inside = torch.arange(longest, device=self.teacher.device) < (lengths - 1)[:, None]
        known = torch.zeros_like(inside)
        known[:, :-1] = ids[:, 1:] < self.kept
        return ids, inside & known


def _cut(answer: Answer, length: int) -> tuple[list[int], list[int]]:
    """Return the end of the prompt and the beginning of the answer, at least half of the room for the latter."""
    tokens = list(answer.tokens[: max(length - len(answer.prompt), length // 2)])
    room = length - len(tokens)
    return list(answer.prompt[-room:]) if room else [], tokens


def _shape(teacher: Any, kept: int, width: int, settings: Settings) -> Shape:
    hidden = settings.hidden or max(HEAD, width // 4 // HEAD * HEAD)
    head = HEAD if hidden % HEAD == 0 else hidden
    positions = int(getattr(teacher.config, "max_position_embeddings", 0) or 2048)
    return Shape(hidden, settings.layers, 3 * hidden, kept, head, positions)


def _parameters(model: Any) -> int:
    return sum(weight.numel() for weight in model.parameters())


def _export(out: Path, draft: LlamaForCausalLM, tokenizer: Any, text: str) -> None:
    """Write the draft's folder in one step."""
    new = out.with_name(f".{out.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    store.write_model(new, draft)
    tokenizer.save_pretrained(new)
    write_text(new / "README.md", text)
    if out.exists():
        shutil.rmtree(out)
    new.rename(out)


def card(trained: Trained, block: ModelConfig, settings: Settings) -> str:
    """Return the model card of a draft."""
    kept, size = trained.vocabulary
    mine, theirs = trained.parameters
    cut = f"the first {kept:,} of {size:,} tokens; others are read as the last of them and never proposed"
    rows = {
        "target": f"`{block.model}`",
        "acceptance": f"{trained.acceptance:.1%} of the target's tokens in {trained.held_out} held-out answers, greedy",
        "parameters": f"{mine:,}, the target has {theirs:,}",
        "vocabulary": "that of the target" if kept == size else cut,
        "trained on": f"{trained.texts:,} answers of the target of at most {settings.answer_tokens} tokens",
        "training": f"{trained.steps:,} steps in {trained.minutes:.0f} minutes",
        "made with": ", ".join(f"{name} {version}" for name, version in versions().items()),
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return (
        "---\nlibrary_name: transformers\ntags: [speculative-decoding, draft]\n---\n\n"
        f"# A draft for {block.model.rstrip('/').rpartition('/')[2]}\n\n"
        "Made by `paceline train-draft`. It proposes tokens for its target and is no language model to talk to. It "
        "learnt from what the target wrote, so the target's licence says what may be done with it.\n\n"
        f"| | |\n|---|---|\n{table}\n"
    )
