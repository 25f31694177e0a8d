"""Options that several commands share, and what they make of a run's configuration."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from paceline.cli._render import Format
from paceline.core.config.load import load_config, parse_override
from paceline.core.config.run import DRAFT_NAME
from paceline.core.errors import ConfigError, short_repr
from paceline.core.plugins.catalogue import Catalogue
from paceline.lab.short_names import parse_policy, split, with_drafts

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping, Sequence

    from paceline.core.config.run import RunConfig

LONGEST_ANSWER = 1024
"""Tokens of an answer where neither the command line nor a run file says: few answers are cut."""

MOST_ROWS = 256
"""Prompts that `--batch` decodes at once at most: each has caches of its own."""

BENCH = Path("runs/bench.jsonl")
RECORDING = Path("runs/recording.jsonl.zst")
REPLAY = Path("runs/replay.jsonl")

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="run.yaml", help="A run file; what it leaves out has defaults."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="key=value", help="Change the run: policy.max_gamma=8. May be repeated."),
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Short for --set generation.seed=...")]
TemperatureOption = Annotated[
    float | None, typer.Option("--temperature", min=0.0, help="Draw tokens; 0.0 takes the likeliest.")
]
TopPOption = Annotated[
    float | None,
    typer.Option(
        "--top-p", min=0.0, max=1.0, help="Draw from the likeliest tokens that make up this probability."
    ),
]
MaxOption = Annotated[
    int | None,
    typer.Option(
        "--max-new-tokens", "-n", min=1, help="The most tokens to write; the run file's by default."
    ),
]
LimitOption = Annotated[int | None, typer.Option("--limit", min=1, help="At most this many prompts.")]
DraftsOption = Annotated[
    str | None,
    typer.Option(
        "--drafts", metavar="a,b,...", help="Only these drafts: the run's own, or small, lookup, ..."
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        help="Use this model as the target: a folder, a GGUF file or a name on the hub.",
    ),
]
ModelArgument = Annotated[
    str | None,
    typer.Argument(metavar="[MODEL]", help="The target: a folder, a GGUF file or a name on the hub."),
]
DraftOption = Annotated[
    list[str] | None,
    typer.Option(
        "--draft",
        metavar="DRAFT",
        help="Use this draft, a folder, a GGUF file or a name on the hub; lookup or suffix without a model, none for "
        "plain decoding. May be repeated.",
    ),
]
PolicyOption = Annotated[str | None, typer.Option("--policy", "-p", help="Use this policy: online:window=9.")]
StopOption = Annotated[
    list[str] | None,
    typer.Option("--stop", metavar="TEXT", help="End the text where it holds this. May be repeated."),
]


def is_given(context: typer.Context, option: str | None) -> bool:
    """Return whether an option stands on the command line."""
    source = context.get_parameter_source(option) if option is not None else None
    return getattr(source, "name", "") == "COMMANDLINE"


def _one_form(context: typer.Context, value: Any) -> Any:
    """Refuse two forms of output at once."""
    if is_given(context, "form") and is_given(context, "as_json"):
        raise ConfigError("--json prints one document and --format tables: leave out one of them")
    return value


JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout.", callback=_one_form)
]
FormatOption = Annotated[Format, typer.Option("--format", help="How tables are printed.", callback=_one_form)]
ReplayArgument = Annotated[
    Path, typer.Argument(metavar="[REPLAY]", help="What `paceline replay` wrote.", show_default=True)
]
RecordingOption = Annotated[
    Path | None,
    typer.Option("--recording", help="The recording that was replayed; by default the one the replay names."),
]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options of a run: a run file, and what goes over it."""

    config: ConfigOption = None
    changes: SetOption = None

    def run(
        self,
        *,
        model: str | None = None,
        draft: Sequence[str] | None = None,
        workload: Mapping[str, Any] | None = None,
        usual_tokens: int | None = None,
        **named: Any,
    ) -> RunConfig:
        """Return the run that they stand for.

        Args:
            model: The target, as in `model_blocks`.
            draft: The drafts, likewise.
            workload: Values for dotted keys that belong to the prompts.
            usual_tokens: The most tokens to write where neither a run file nor an option says.
            named: As for `read_config`.

        Raises:
            ConfigError: A file, a key, a name or a value is wrong.
        """
        catalogue = Catalogue.load()
        given = {option.name: getattr(self, option.name) for option in fields(self)}
        policy, drafts = given.get("policy"), given.get("drafts")
        usual = {"generation.max_new_tokens": usual_tokens} if usual_tokens and self.config is None else {}
        run = read_config(
            self.config,
            self.changes,
            catalogue=catalogue,
            base=usual | dict(workload or {}) | model_blocks(model, draft),
            policy=None if policy is None else parse_policy(policy, catalogue).model_dump(mode="json"),
            **({f"generation__{key}": given.get(key) for key in GENERATION} | named),
        )
        return run if drafts is None else with_drafts(run, split(drafts, ","), catalogue)


@dataclass(frozen=True, kw_only=True)
class DecodingOptions(RunOptions):
    """Those, and how tokens are drawn."""

    max_new_tokens: MaxOption = None
    temperature: TemperatureOption = None
    top_p: TopPOption = None
    seed: SeedOption = None


@dataclass(frozen=True, kw_only=True)
class MeasuringOptions(DecodingOptions):
    """Options of a run over many prompts."""

    drafts: DraftsOption = None
    limit: LimitOption = None


@dataclass(frozen=True, kw_only=True)
class ServiceOptions(RunOptions):
    """Options of a run whose requests say how tokens are drawn."""

    policy: PolicyOption = None


@dataclass(frozen=True, kw_only=True)
class TextOptions(DecodingOptions, ServiceOptions):
    """Options of a run that writes a text."""

    stop: StopOption = None


GENERATION = ("max_new_tokens", "temperature", "top_p", "seed", "stop")
"""Options that are keys of `generation`."""


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that takes the options of a group as its own, where the given one takes the group."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    parameters: list[Parameter] = []
    for parameter in signature(command).parameters.values():
        group = groups.get(parameter.name)
        if group is None:
            parameters.append(parameter.replace(annotation=hints[parameter.name]))
            continue
        types = get_type_hints(group, include_extras=True)
        parameters += [
            Parameter(option.name, parameter.kind, default=option.default, annotation=types[option.name])
            for option in fields(group)
        ]

    @wraps(command)
    def called(*arguments: Any, **values: Any) -> None:
        made = {
            name: group(**{option.name: values.pop(option.name) for option in fields(group)})
            for name, group in groups.items()
        }
        command(*arguments, **values, **made)

    called.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # what Typer reads
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return called


def read_config(
    path: Path | None,
    changes: Iterable[str] | None = None,
    *,
    catalogue: Catalogue | None = None,
    base: Mapping[str, Any] | None = None,
    **named: Any,
) -> RunConfig:
    """Read a run file, with what the command line changes: `--set` first, then options of their own.

    Args:
        path: The run file, or None for the defaults.
        changes: `key=value` as given to `--set`.
        catalogue: The installed plugins, when they are known already.
        base: Values for dotted keys that belong to the workload: over those of the file, under those of `changes`.
        named: Values for dotted keys, with `__` for the dot; None leaves the key alone.

    Raises:
        ConfigError: The file, a key or a value is wrong.
    """
    overrides = dict(base or {}) | dict(parse_override(change) for change in changes or ())
    overrides |= {key.replace("__", "."): value for key, value in named.items() if value is not None}
    return load_config(path, catalogue=catalogue, overrides=overrides)


ENGINES = ("graph", "hf")
"""Backends that run a model of transformers, the fastest first."""

WITHOUT_MODEL = {"lookup": {"backend": "prompt-lookup"}, "suffix": {"backend": "suffix"}}
"""Drafts that `--draft` names by a word of their own."""

NO_DRAFT = "none"


def model_blocks(model: str | None, drafts: Sequence[str] | None) -> dict[str, Any]:
    """Return the blocks of a run that `--model` and `--draft` stand for; the fastest backend that runs each model.

    Raises:
        ConfigError: Drafts exclude each other.
    """
    blocks: dict[str, Any] = {} if model is None else {"target": _model_block(model)}
    if drafts:
        if NO_DRAFT in drafts and len(drafts) > 1:
            raise ConfigError("--draft none goes with no other --draft: leave out one of them")
        for draft in drafts:
            _refuse_misspelt(draft)
        named = [(_draft_name(draft), draft) for draft in drafts if draft != NO_DRAFT]
        if twice := [name for name, count in Counter(name for name, _ in named).items() if count > 1]:
            raise ConfigError(f"two drafts of --draft would be called {twice[0]!r}; name them in a run file")
        blocks["drafts"] = {
            name: WITHOUT_MODEL[draft] if draft in WITHOUT_MODEL else _model_block(draft)
            for name, draft in named
        }
    return blocks


def _model_block(model: str) -> dict[str, Any]:
    """Return a block for a model: of the backend that takes its kind, or of the fastest engine that can run it.

    Where none can, it is the last one's, which says why.
    """
    if (taken := Catalogue.load().block_for(model)) is not None:
        return taken.model_dump(mode="json")
    for backend in ENGINES:
        block = {"backend": backend, "model": model}
        run = load_config(None, overrides={"target": block, "drafts": {}})
        if not run.target.check_target(run).problems:
            break
    return block


def _refuse_misspelt(draft: str) -> None:
    """Refuse what is nearly the name of a draft without a model, before the hub is asked for it.

    Raises:
        ConfigError: Names the nearest.
    """
    names = (*WITHOUT_MODEL, NO_DRAFT)
    near = get_close_matches(draft, names, n=1, cutoff=0.75)
    if near and draft not in names and not Path(draft).exists():
        raise ConfigError(f"--draft {draft}: there is no such folder; did you mean {near[0]!r}?")


def _draft_name(draft: str) -> str:
    name = re.sub("[^A-Za-z0-9_-]", "-", Path(draft).name)
    return name if re.fullmatch(DRAFT_NAME, name) else f"draft-{name}"


def refuse_others(context: typer.Context, taken: Container[str | None], what: str) -> None:
    """Refuse options of the command line that mean nothing here.

    Args:
        context: Tells which options were given.
        taken: The names of the options that mean something.
        what: Which option excludes the others, and why, as the message begins.

    Raises:
        ConfigError: Names what to leave out, and what goes together.
    """
    options = {option.name: option.opts[0] for option in context.command.params}
    others = [flag for name, flag in options.items() if name not in taken and is_given(context, name)]
    if others:
        *most, last = [
            flag for name, flag in options.items() if name in taken and flag != what.split(maxsplit=1)[0]
        ]
        raise ConfigError(f"{what}: leave out {', '.join(others)}; it goes with {', '.join(most)} and {last}")


def row_counts(text: str, *, least: int = 1) -> list[int]:
    """Return the numbers of prompts at once that `--batch` asks for.

    Raises:
        ConfigError: They are no such numbers, or one comes twice.
    """
    parts = text.replace(",", " ").split()
    counts = [int(part) for part in parts if part.isdecimal() and least <= int(part) <= MOST_ROWS]
    if not counts or len(set(counts)) < len(parts):
        raise ConfigError(
            f"--batch takes numbers of prompts from {least} to {MOST_ROWS}, each once, as in 4,16; found "
            f"{short_repr(text)}"
        )
    return counts
