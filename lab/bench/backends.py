"""The same models on several backends in one bench: a run for each, and their modes side by side."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from paceline.core.errors import ConfigError
from paceline.lab.bench.choices import Choice, choose
from paceline.lab.bench.run import ReferenceMode
from paceline.lab.models import load_models
from paceline.lab.short_names import reasons

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.core.config.blocks import BackendConfig
    from paceline.core.config.run import RunConfig
    from paceline.core.plugins.catalogue import Catalogue
    from paceline.lab.bench.run import LoopMode, Mode

    Block = TypeVar("Block", bound=BackendConfig)

CHOICE = "engine"
"""The field of a block that chooses between backends by itself, as the embedded pair's does."""


def on_backend(run: RunConfig, name: str, catalogue: Catalogue) -> RunConfig:
    """Return the run with its target on another backend, and the drafts that can be on it as well.

    Options that only the former backend knows are left out.

    Raises:
        ConfigError: There is no such backend, or the target cannot be on it.
    """
    target = _moved(run.target, name, catalogue)
    if target is None:
        raise ConfigError(
            f"a target with `backend: {run.target.backend}` cannot be on {name!r}; --backends is for models that "
            "several backends run, such as hf and graph"
        )
    drafts = {key: _moved(block, name, catalogue) or block for key, block in run.drafts.items()}
    return run.model_copy(update={"target": target, "drafts": drafts})


def _moved(block: BackendConfig, name: str, catalogue: Catalogue) -> BackendConfig | None:
    """Return the block of the same model on another backend; None where it is none that can be moved."""
    said = block.model_dump(exclude_unset=True)
    if CHOICE in type(block).model_fields:
        kind, said = type(block), {**said, CHOICE: name}
    elif name not in catalogue.backends:
        raise ConfigError(f"no backend named {name!r}; installed: {', '.join(sorted(catalogue.backends))}")
    else:
        kind = catalogue.backends[name].config
        if any(field not in kind.model_fields for field in _needed(type(block))):
            return None
        said = {key: value for key, value in said.items() if key in kind.model_fields and key != "backend"}
    try:
        return kind.model_validate(said)
    except ValidationError as error:
        if CHOICE in said:
            raise ConfigError(f"--backends {name}: {reasons(error)}") from None
        return None


def _needed(kind: type[BackendConfig]) -> set[str]:
    """Return the options without which a block says nothing, such as the name of a model."""
    return {name for name, field in kind.model_fields.items() if field.is_required()}


def side_by_side(
    run: RunConfig, names: Sequence[str], catalogue: Catalogue, policies: Sequence[str]
) -> tuple[Choice, RunConfig]:
    """Load the models on each backend and make the modes; return them, and the run on the first backend.

    The modes on the first backend have their own names, those on others end with `@` and the backend. The ways of the
    models' own library run once.

    Raises:
        ConfigError: A backend is named twice or unknown, or cannot run the target.
        BackendError, CapabilityError: As for `choose`.
    """
    if len(set(names)) < len(names) or len(names) < 2:
        raise ConfigError(f"--backends takes two backends or more, each once; found {', '.join(names)}")
    first = on_backend(run, names[0], catalogue)
    joined = choose(load_models(first), catalogue, policies)
    joined.first_backend = names[0]
    for name in names[1:]:
        more = choose(load_models(on_backend(run, name, catalogue)), catalogue, policies)
        for mode, runner in more.modes.items():
            if isinstance(runner, ReferenceMode):
                joined.modes.setdefault(mode, runner)
                continue
            named = f"{mode} @{name}"
            joined.modes[named] = _renamed(runner, named)
            if mode in more.policies:
                joined.policies[named], joined.code[named] = more.policies[mode], more.code[mode]
            if mode in joined.modes:
                joined.twins[named] = mode
        joined.left_out |= {f"{mode} @{name}": reason for mode, reason in more.left_out.items()}
    return joined, first


def _renamed(mode: Mode | LoopMode, name: str) -> Mode:
    return replace(mode, name=name)  # type: ignore[type-var]
