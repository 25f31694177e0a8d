"""`paceline train-draft`: a small draft for one target, distilled on what the target writes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paceline.cli._options import JsonOption, LimitOption, MaxOption, model_blocks
from paceline.cli._progress import progress
from paceline.cli._render import show, show_json, warn
from paceline.core.config.load import load_config
from paceline.core.environment import require
from paceline.core.errors import ConfigError
from paceline.core.files import check_output, printable
from paceline.lab.workloads.named import load
from paceline.lab.workloads.prompts import choose, encoded

if TYPE_CHECKING:
    from paceline.backends.distillation.draft import Progress, Trained

ANSWER_TOKENS = 256


def train_draft(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The target: a folder or a name on the hub.")],
    *,
    prompts: Annotated[
        str,
        typer.Option(
            "--prompts", "-w", metavar="FILE|NAME", help="What the target answers, hundreds and more."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of the draft.")],
    minutes: Annotated[
        float,
        typer.Option("--minutes", min=0.0, help="The most that training takes, once the answers are there."),
    ] = 60.0,
    layers: Annotated[int, typer.Option("--layers", min=1, help="Layers of the draft.")] = 1,
    hidden: Annotated[
        int | None,
        typer.Option("--hidden", min=1, help="Width of the draft; a quarter of the target's by default."),
    ] = None,
    limit: LimitOption = None,
    max_new_tokens: MaxOption = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the first weights and of the order of texts.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace the draft that is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a small draft for a model on what the model itself writes.

    The model answers the prompts, the draft learns to foresee the answers, and a tenth of them is held out to judge it
    by. Training ends when it no longer pays. Answers and checkpoints are kept beside the draft, in OUT.training: the
    same command goes on from there, whatever ended it.
    """
    require("torch")
    if out.exists() and not force:
        raise ConfigError(
            f"{printable(out)}: is there already; replace it with --force, or name another with --out"
        )
    work = out.with_name(f"{out.name}.training")
    check_output(work / "answers.jsonl")
    texts = load(prompts).texts
    block = load_config(None, overrides=model_blocks(model, ["none"])).target
    # The models are loaded only now, so that a wrong option is told at once.
    from paceline.backends.distillation.draft import Settings  # noqa: PLC0415
    from paceline.backends.distillation.draft import train_draft as train  # noqa: PLC0415
    from paceline.backends.torch.config import ModelConfig  # noqa: PLC0415

    if not isinstance(block, ModelConfig):
        raise ConfigError(f"{model}: is no model of transformers, so no draft can be trained on it")
    decoder = load_config({"target": block, "drafts": {"suffix": "suffix"}, "policy": "auto"}).build()
    settings = Settings(minutes, layers, hidden, max_new_tokens or ANSWER_TOKENS, seed=seed)
    prompt_tokens = [encoded(text, decoder, prompts).tokens for text in choose(texts, limit=limit)]
    try:
        with progress(still=True) as bar:
            task = bar.add_task("answering", total=len(prompt_tokens))

            def tell(step: Progress) -> None:
                bar.update(
                    task, description=_description(step), total=step.of, completed=step.done, refresh=True
                )

            trained = train(block, decoder, prompt_tokens, out, work, settings, tell)
    except KeyboardInterrupt:
        warn(f"interrupted; the same command goes on from what is in {work}")
        raise
    if as_json:
        show_json("train-draft", asdict(trained))
        return
    show(_summary(trained))
    warn(f"the draft is {out}; try it with `paceline find-draft {model} --draft {out}`")


def _description(step: Progress) -> str:
    if step.acceptance is None:
        return step.stage
    return f"{step.stage}, held-out acceptance {step.acceptance:.1%}"


def _summary(trained: Trained) -> str:
    mine, theirs = trained.parameters
    return (
        f"{trained.acceptance:.1%} of the target's tokens in {trained.held_out} held-out answers are foreseen, by a "
        f"draft of {mine / 1e6:.1f} million weights (target {theirs / 1e6:.1f}), after {trained.steps} steps in "
        f"{trained.minutes:.0f} minutes on {trained.texts} answers."
    )
