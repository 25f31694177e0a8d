"""`paceline chat`: a conversation in a terminal, coloured by who wrote what; in a pipe, each line is a turn."""

from __future__ import annotations

import os
import sys
from itertools import cycle
from typing import TYPE_CHECKING, Annotated, Final

import typer

from paceline.cli._decoding import decoding_values
from paceline.cli._dialogue import Answers, Dialogue
from paceline.cli._options import LONGEST_ANSWER, DraftOption, JsonOption, ModelArgument, TextOptions
from paceline.cli._render import show_json, warn
from paceline.cli._screen import Screen
from paceline.core.errors import BackendError
from paceline.core.json_text import is_text

if TYPE_CHECKING:
    from paceline.core.decoder import SpeculativeDecoder

COLOURS: Final = ("\x1b[36m", "\x1b[32m", "\x1b[33m", "\x1b[35m", "\x1b[34m")
"""Of the drafts, in their order; what the target wrote has the terminal's own."""


def chat(
    model: ModelArgument = None,
    *,
    options: TextOptions,
    draft: DraftOption = None,
    system: Annotated[
        str | None, typer.Option("--system", metavar="TEXT", help="What the target is to be.")
    ] = None,
    no_color: Annotated[
        bool, typer.Option("--no-color", help="Do not show by colours who wrote what; nor with NO_COLOR set.")
    ] = False,
    as_json: JsonOption = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="The answers and errors, nothing else.")
    ] = False,
) -> None:
    """Talk to a model; /help lists what else can be done. In a pipe, each line of stdin is a turn."""
    run = options.run(model=model, draft=draft, usual_tokens=LONGEST_ANSWER)
    screen = Screen(sys.stdout, sys.stderr, live=not (quiet or as_json))
    screen.line("loading")
    try:
        with run.build() as decoder:
            require_template(decoder)
            coloured = not (no_color or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb")
            colours = dict(zip(run.drafts, cycle(COLOURS), strict=False)) if coloured else {}
            answers = Answers(run, decoder, screen, decoder.conversation(system), colours)
            if sys.stdin is not None and sys.stdin.isatty() and not as_json:
                Dialogue(answers, quiet=quiet).run()
            else:
                answer_lines(answers, as_json=as_json)
    finally:
        screen.close()


def require_template(decoder: SpeculativeDecoder) -> None:
    """Refuse a target that was not trained for conversations.

    Raises:
        BackendError: It has no chat template; says where to get one that has.
    """
    try:
        decoder.encode_chat([{"role": "user", "content": "hello"}])
    except BackendError as error:
        raise BackendError(
            f"{error}. Try `paceline chat HuggingFaceTB/SmolLM2-135M-Instruct`, or see docs/chat.md for other models; "
            "`paceline generate` goes on with a text"
        ) from None


def answer_lines(answers: Answers, *, as_json: bool) -> None:
    """Take each line of stdin for a turn; one that the target cannot read is refused, and the next one goes on.

    Raises:
        typer.Exit: A line was refused.
    """
    refused = False
    for number, line in enumerate(sys.stdin or (), start=1):
        said = line.rstrip("\r\n")
        if not is_text(said):
            raise typer.BadParameter(f"line {number} of stdin is not UTF-8; send it in that encoding")
        if not said.strip():
            continue
        try:
            answer = answers.answer(said, shown=not as_json)
        except BackendError as error:
            refused = True
            warn(f"line {number} of stdin: {error}")
            if as_json:
                show_json("chat", {"message": said, "error": str(error)}, indent=None)
            continue
        if as_json:
            values = decoding_values(
                answers.run, answer.decoding, text=answer.text, prompt_tokens=answer.prompt_tokens
            )
            show_json("chat", {"turn": len(answers.given), "message": said} | values, indent=None)
        elif not (sys.stdout.isatty() or answer.text.endswith("\n")):
            sys.stdout.write("\n")
        sys.stdout.flush()
    if refused:
        raise typer.Exit(1)
