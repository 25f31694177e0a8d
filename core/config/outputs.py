"""The files that a run writes, checked before anything runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from paceline.core.errors import ConfigError, PacelineError
from paceline.core.outputs import check_output

if TYPE_CHECKING:
    from paceline.core.config.errors import Locate
    from paceline.core.config.run import RunConfig


def check_outputs(config: RunConfig, locate: Locate, *, inputs: Sequence[Path | str]) -> None:
    """Refuse a trace or state file that cannot be used, or that would be written over something else.

    Args:
        config: The run.
        locate: Where each key comes from.
        inputs: Files that the run is read from.

    Raises:
        ConfigError: Lists every problem, with where it comes from.
    """
    from paceline.core.state.store import StateStore  # noqa: PLC0415 - reading a run needs no database
    from paceline.core.trace import check_replaceable  # noqa: PLC0415 - nor a trace

    problems = []
    for key, path in (("state", config.state), ("trace", config.trace)):
        if path is None:
            continue
        try:
            check_output(path, inputs=inputs)
            if key == "trace":
                check_replaceable(path)
            else:
                StateStore(path).check()
        except PacelineError as error:
            problems.append(f"{locate((key,)).origin}{key}: {error}")
    if config.state is not None and config.trace is not None and _same(config.state, config.trace):
        problems.append(f"{locate(('trace',)).origin}trace: `state` names this file too; give another path")
    if problems:
        raise ConfigError("\n".join(problems))


def _same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)
