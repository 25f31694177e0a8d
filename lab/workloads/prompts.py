"""Prompts as text: those shipped with the embedded pair, and how some are chosen.

Only the data file of the embedded pair is read here, by its place in the package; its code is not needed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Any

from paceline.core.errors import BackendError, ConfigError, PacelineError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from paceline.core.decoder import SpeculativeDecoder

EMBEDDED = "embedded"
PACKAGE, FILE = "paceline.backends.embedded", "prompts.json"


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text to go on with.

    Attributes:
        name: Unique among the prompts of a workload.
        kind: The sort of text; speed-ups are also given for each kind.
        tokens: The prompt as the target reads it.
    """

    name: str
    kind: str
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Text:
    """A prompt that has not been turned into tokens.

    Attributes:
        name, kind: As in `Prompt`.
        text: What is gone on with, unless one of the next two is given instead.
        tokens: The prompt as tokens.
        messages: A conversation, which the target's chat template turns into a prompt.
        options: What else the template reads.
        where: File and line that it is from, for what is wrong with it.
    """

    name: str
    kind: str
    text: str = ""
    tokens: tuple[int, ...] | None = None
    messages: Sequence[Mapping[str, Any]] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    where: str | None = None


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
    return [Text(values["id"], values["kind"], values["text"]) for values in listed]


def choose(texts: Sequence[Text], *, kinds: Sequence[str] = (), limit: int | None = None) -> list[Text]:
    """Return the prompts of some kinds; with a limit, the kinds take turns so that few still cover all.

    Raises:
        ConfigError: There is no such kind.
    """
    known = list(dict.fromkeys(text.kind for text in texts))
    unknown = [kind for kind in kinds if kind not in known]
    if unknown:
        raise ConfigError(f"no prompts of kind {unknown[0]!r}; there are: {', '.join(known)}")
    chosen = [text for text in texts if not kinds or text.kind in kinds]
    return chosen if limit is None else list(_in_turns(chosen))[:limit]


def encoded(text: Text, decoder: SpeculativeDecoder, source: str) -> Prompt:
    """Return a prompt as the decoder's target reads it; `source` is the workload or file that it is from.

    Raises:
        BackendError: The target cannot read it; names the source and the prompt.
    """
    try:
        if text.messages is not None:
            tokens = decoder.encode_chat(text.messages, **text.options)
        else:
            tokens = decoder.encode(text.text if text.tokens is None else text.tokens)
    except BackendError as error:
        raise BackendError(f"{text.where or source}: the prompt {text.name!r}: {error}") from error
    return Prompt(text.name, text.kind, tuple(tokens))


def _in_turns(texts: Iterable[Text]) -> Iterator[Text]:
    kinds: dict[str, list[Text]] = {}
    for text in texts:
        kinds.setdefault(text.kind, []).append(text)
    while any(kinds.values()):
        for queue in kinds.values():
            if queue:
                yield queue.pop(0)
