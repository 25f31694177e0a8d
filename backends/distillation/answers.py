"""Texts that a target wrote, kept in a file so that they are written once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from paceline.core.errors import ConfigError
from paceline.core.files import MIB, GrowingFile, input_lines, open_input
from paceline.core.json_text import parse_json
from paceline.core.trace import prompt_sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from paceline.core.decoder import SpeculativeDecoder

LONGEST_LINE = 16 * MIB

HELD_OUT_ONE_IN = 10


@dataclass(frozen=True, slots=True)
class Answer:
    """A prompt, and what the target wrote after it."""

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]

    @property
    def held_out(self) -> bool:
        """True if it is kept away from training."""
        return is_held_out(self.prompt)


def is_held_out(prompt: Sequence[int]) -> bool:
    """Tell whether the answer to a prompt is kept away from training; that hangs on the prompt alone."""
    return int(prompt_sha256(prompt)[:8], 16) % HELD_OUT_ONE_IN == 0


def write_answers(
    decoder: SpeculativeDecoder,
    prompts: Sequence[Sequence[int]],
    path: Path,
    max_new_tokens: int,
    on_answer: Callable[[int], None],
) -> list[Answer]:
    """Return the target's answers to all prompts, those of an earlier run from the file.

    Args:
        decoder: Of the target.
        prompts: Each as tokens.
        path: The file, which is for one target; a line that a killed process left unfinished is written anew.
        max_new_tokens: The most tokens of an answer.
        on_answer: Told how many answers there are, after each.

    Raises:
        PacelineError: The file cannot be used, or the target fails.
    """
    known, size = _read(path)
    with GrowingFile(path, ConfigError, keep=size) as file:
        for count, prompt in enumerate(prompts, start=1):
            key = tuple(prompt)
            if key not in known:
                known[key] = decoder.generate(prompt, max_new_tokens=max_new_tokens).tokens
                line = json.dumps({"prompt": list(key), "tokens": list(known[key])}, separators=(",", ":"))
                file.append(line.encode() + b"\n")
            on_answer(count)
    return [Answer(tuple(prompt), known[tuple(prompt)]) for prompt in dict.fromkeys(map(tuple, prompts))]


def _read(path: Path) -> tuple[dict[tuple[int, ...], tuple[int, ...]], int]:
    """Return the answers in a file by their prompts, and how many of its bytes are whole lines."""
    known: dict[tuple[int, ...], tuple[int, ...]] = {}
    size = 0
    if path.exists():
        with open_input(path, ConfigError) as file:
            for number, line in input_lines(file, path, ConfigError, most=LONGEST_LINE):
                if not line.endswith(b"\n"):
                    break
                try:
                    values = parse_json(line)
                    known[_tokens(values["prompt"])] = _tokens(values["tokens"])
                except (ValueError, TypeError, KeyError) as error:
                    raise ConfigError(
                        f"{path}:{number}: no answer of a target ({error!r}); remove the file to begin anew"
                    ) from error
                size += len(line)
    return known, size


def _tokens(values: Iterable[object]) -> tuple[int, ...]:
    tokens = tuple(value for value in values if type(value) is int and value >= 0)
    if len(tokens) != len(list(values)):
        raise ValueError("not all are tokens")
    return tokens
