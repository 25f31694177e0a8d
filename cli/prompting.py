"""Where the prompt of `generate` comes from: an argument, a file, a pipe, or the embedded ones."""

from __future__ import annotations

import sys

import typer

from paceline.core.errors import ConfigError
from paceline.core.inputs import MIB, read_text, size
from paceline.core.json_text import is_text
from paceline.lab.prompts import embedded

STDIN = "-"
MOST = 16 * MIB
"""Of a prompt: no target reads as much."""

GIVE = "give a file with the text to go on with, or - for stdin"


def find_prompt(argument: str | None, file: str | None) -> tuple[str, str | None]:
    """Return the prompt, and the name of the embedded one if it is one of those.

    One line break at the end of a file or pipe is dropped: editors and `echo` put it there.

    Raises:
        typer.BadParameter: There are two prompts, none, an empty one, or one that is no text.
        ConfigError: The file cannot be read.
    """
    if argument is not None and file is not None:
        raise typer.BadParameter("give PROMPT or --prompt-file, not both")
    if argument == STDIN:
        argument, file = None, STDIN
    if argument is not None:
        return _not_empty(argument, "PROMPT"), None
    if file is not None and file != STDIN:
        return _not_empty(_ended(read_text(file, ConfigError, most=MOST, missing=GIVE)), file), None
    # Python leaves stdin None when the process was started with it closed.
    if file == STDIN or sys.stdin is None or not sys.stdin.isatty():
        return _not_empty(_ended(_stdin()), "the text on stdin"), None
    first = embedded()[0]
    return first.text, first.name


def _stdin() -> str:
    if sys.stdin is None:
        raise typer.BadParameter("stdin is closed, so there is no prompt; give PROMPT or --prompt-file")
    try:
        text = sys.stdin.read(MOST + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"cannot read the prompt from stdin: {error}") from error
    if len(text) > MOST:
        raise typer.BadParameter(f"the text on stdin has more than {size(MOST)}; no target reads as much")
    return text


def _ended(text: str) -> str:
    return text.removesuffix("\n").removesuffix("\r")


def _not_empty(text: str, where: str) -> str:
    if not text:
        raise typer.BadParameter(f"{where} is empty; give some text to go on with, or try --demo")
    if not is_text(text):
        raise typer.BadParameter(f"{where} is not UTF-8; save or send it in that encoding")
    return text
