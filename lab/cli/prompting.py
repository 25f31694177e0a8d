"""Where the prompt of `generate` comes from: an argument, a file, a pipe, or the embedded ones."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from paceline.lab.prompts import embedded

STDIN = "-"


def find_prompt(argument: str | None, file: str | None) -> tuple[str, str | None]:
    """Return the prompt, and the name of the embedded one if it is one of those.

    One line break at the end of a file or pipe is dropped: editors and `echo` put it there.

    Raises:
        typer.BadParameter: There are two prompts, none, an empty one, or the file cannot be read.
    """
    if argument is not None and file is not None:
        raise typer.BadParameter("give PROMPT or --prompt-file, not both")
    if argument == STDIN:
        argument, file = None, STDIN
    if argument is not None:
        return _not_empty(argument, "PROMPT"), None
    if file is not None and file != STDIN:
        return _not_empty(_read(Path(file)), file), None
    # Python leaves stdin None when the process was started with it closed.
    if file == STDIN or sys.stdin is None or not sys.stdin.isatty():
        return _not_empty(_ended(_stdin()), "the text on stdin"), None
    first = embedded()[0]
    return first.text, first.name


def _read(path: Path) -> str:
    try:
        return _ended(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"cannot read the prompt from {path}: {error}") from error


def _stdin() -> str:
    if sys.stdin is None:
        raise typer.BadParameter("stdin is closed, so there is no prompt; give PROMPT or --prompt-file")
    try:
        return sys.stdin.read()
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"cannot read the prompt from stdin: {error}") from error


def _ended(text: str) -> str:
    return text.removesuffix("\n").removesuffix("\r")


def _not_empty(text: str, where: str) -> str:
    if not text:
        raise typer.BadParameter(f"{where} is empty; give some text to go on with, or try --demo")
    return text
