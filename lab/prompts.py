"""Prompts as text: those shipped with the embedded pair, and how some are chosen.

Only the data file of the embedded pair is read here, by its place in the package; its code is not needed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from paceline.core.errors import BackendError, ConfigError, PacelineError
from paceline.lab.bench.records import Prompt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

EMBEDDED = "embedded"
PACKAGE, FILE = "paceline.backends.embedded", "prompts.json"


@dataclass(frozen=True, slots=True)
class Text:
    """A prompt that has not been turned into tokens; `tokens` is set where the file gives those instead."""

    name: str
    kind: str
    text: str = ""
    tokens: tuple[int, ...] | None = None


def embedded() -> list[Text]:
    """Return the prompts shipped with the embedded pair.

    Raises:
        PacelineError: They are not installed.
    """
    try:
        listed = json.loads((resources.files(PACKAGE) / FILE).read_text(encoding="utf-8"))
    except (ModuleNotFoundError, OSError) as error:
        raise PacelineError(
            "the embedded prompts are not installed; give a prompt or a file of prompts"
        ) from error
    return [Text(one["id"], one["kind"], one["text"]) for one in listed]


def choose(texts: Sequence[Text], *, kinds: Sequence[str] = (), limit: int | None = None) -> list[Text]:
    """Return the prompts of some kinds; with a limit, the kinds take turns so that few still cover all.

    Raises:
        ConfigError: There is no such kind.
    """
    known = list(dict.fromkeys(one.kind for one in texts))
    unknown = [kind for kind in kinds if kind not in known]
    if unknown:
        raise ConfigError(f"no prompts of kind {unknown[0]!r}; there are: {', '.join(known)}")
    wanted = [one for one in texts if not kinds or one.kind in kinds]
    return wanted if limit is None else list(_in_turns(wanted))[:limit]


def encoded(text: Text, encode: Callable[[str | Sequence[int]], list[int]], source: str) -> Prompt:
    """Return a prompt as the target reads it; `source` is the workload or file that it is from.

    Raises:
        BackendError: The target cannot read it; names the source and the prompt.
    """
    try:
        tokens = encode(text.text if text.tokens is None else text.tokens)
    except BackendError as error:
        raise BackendError(f"{source}: the prompt {text.name!r}: {error}") from error
    return Prompt(text.name, text.kind, tuple(tokens))


def _in_turns(texts: Iterable[Text]) -> Iterator[Text]:
    kinds: dict[str, list[Text]] = {}
    for one in texts:
        kinds.setdefault(one.kind, []).append(one)
    while any(kinds.values()):
        for some in kinds.values():
            if some:
                yield some.pop(0)
