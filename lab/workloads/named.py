"""Workloads by name, and files of prompts where names are taken as well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paceline.core.errors import ConfigError
from paceline.lab.prompts import EMBEDDED, Text, embedded
from paceline.lab.workloads.files import read
from paceline.lab.workloads.made import repetitive, varied

if TYPE_CHECKING:
    from collections.abc import Sequence

SHIPPED, REPETITIVE, VARIED, BAD_PAIR = "shipped", "repetitive", "varied", "bad-pair"
NAMES = (SHIPPED, REPETITIVE, VARIED, BAD_PAIR)
"""`embedded` is another word for `shipped`."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Prompts, with what else of the run belongs to them.

    Attributes:
        name: The name, or the path of the file.
        texts: The prompts.
        changes: Values for dotted keys of a run, which go over those of the run file and under those of `--set`.
    """

    name: str
    texts: Sequence[Text]
    changes: Mapping[str, Any] = field(default_factory=dict)


def load(name: str) -> Workload:
    """Return the workload of a name, or the prompts of a file.

    A file is meant where there is one of that name, or where the name has a suffix or a folder.

    - `shipped`: the prompts shipped with the embedded pair;
    - `repetitive`, `varied`: see `paceline.lab.workloads.made`;
    - `bad-pair`: the shipped prompts with the embedded pair's smallest model as the target and a larger one as its
      draft, which takes longer than the target itself, so that no speculation pays.

    Raises:
        ConfigError: There is no such workload, or the file is wrong.
    """
    if name in {SHIPPED, EMBEDDED}:
        return Workload(SHIPPED, embedded())
    if name == REPETITIVE:
        return Workload(name, repetitive(embedded()))
    if name == VARIED:
        return Workload(name, varied(embedded()))
    if name == BAD_PAIR:
        return Workload(name, embedded(), _bad_pair())
    path = Path(name)
    if path.exists() or path.suffix or len(path.parts) > 1:
        return Workload(name, read(path))
    near = get_close_matches(name, NAMES, n=1)
    meant = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError(
        f"no workload {name!r} and no such file; {meant}There are: {', '.join(NAMES)}, or a file of prompts"
    )


def _bad_pair() -> dict[str, Any]:
    return {
        "target": {"backend": "embedded", "size": "small"},
        "drafts": {"medium": {"backend": "embedded", "size": "medium"}},
    }
