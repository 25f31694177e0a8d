"""The command's root: its options, its commands, and how errors become messages and exit codes.

Exit codes: 0 done, 1 failed, 2 wrong usage (a wrong configuration is wrong usage), 129, 130 and 143 interrupted.
"""

from __future__ import annotations

import logging
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperGroup

from paceline.cli._process import OutputLost, exit_code, settle, stops
from paceline.cli._render import warn
from paceline.core.environment import LIBRARIES, remedy
from paceline.core.errors import ConfigError, PacelineError

if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence

DEBUG = "PACELINE_DEBUG"
"""Environment variable: "1" shows the traceback of an error instead of its message."""

COMMANDS: Final = {
    "generate": "Write text: stdout gets the text, stderr everything else.",
    "chat": "Talk to a model; /help lists what else can be done. In a pipe, each line of stdin is a turn.",
    "serve": "Serve a model over HTTP, as OpenAI does, until interrupted.",
    "bench": "Run several policies in turns on the same prompts and compare them with plain decoding.",
    "record": "Record what every draft would have done at every place, so that any policy can be tried on it with "
    "`replay`.",
    "replay": "Try policies on a recording in virtual time, and rank them.",
    "regret": "Say how much of what was possible each policy captured, on all texts and on those that vary.",
    "report": "Say which policy is best on the recorded texts, in the terminal and as one HTML page that opens "
    "offline.",
    "tune": "Choose a policy on one half of the texts, judge it on the other, and write a run file with it.",
    "export": "Write a recording as a Parquet file: one row for each start of each draft in each text.",
    "find-draft": "Measure which drafts pay for a model, and write a run file with them.",
    "train-draft": "Train a small draft for a model on what the model itself writes.",
    "plugins": "List policies and backends with their providers, and plugins that are broken.",
    "schema": "Write the JSON schema of a run file, for editors.",
    "doctor": "Tell what is installed, try each backend on its smallest model, and check what a run file (or none) "
    "would run.",
    "new-policy": "Write an installable package with a small policy that works, and its tests.",
}
"""The commands, each with the first sentence of its help."""


class Commands(TyperGroup):
    """Loads the module of a command when it is called: a list of all needs none of them."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the name, the command itself and its arguments."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and load(str(command.name)), rest


def load(name: str) -> Any:
    """Return a command by its name."""
    from paceline.cli._options import with_options  # noqa: PLC0415 - not for a list of commands

    function = name.replace("-", "_")
    alone = typer.Typer(add_completion=False)
    alone.command(name)(with_options(getattr(import_module(f"paceline.cli.{function}"), function)))
    return typer.main.get_command(alone)


app = typer.Typer(
    cls=Commands,
    name="paceline",
    help="Speculative decoding under an adaptive policy: the same text, sooner.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for name, summary in COMMANDS.items():
    app.command(name, help=summary)(lambda: None)


def _version(shown: bool) -> None:
    if shown:
        from paceline import __version__  # noqa: PLC0415 - not for a page of help

        typer.echo(f"paceline {__version__}")
        raise typer.Exit


@app.callback()
def root(
    *,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more, to stderr.")] = False,
    version: Annotated[  # noqa: ARG001 - its callback does the work
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and stop.")
    ] = False,
) -> None:
    """Speculative decoding under an adaptive policy: the same text, sooner."""
    _configure_logging(verbose=verbose)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code."""
    settle()
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code; nothing but a bug gets out as an exception."""
    with stops() as seen:
        try:
            code = _run(arguments)
        except Exception:
            # Code that was interrupted in the middle, such as an import, may fail in any way.
            if seen.number is None:
                raise
            code = 1
    return code if seen.number is None else 128 + seen.number


def _run(arguments: Sequence[str]) -> int:
    try:
        app(args=list(arguments), prog_name="paceline")
        sys.stdout.flush()
    except SystemExit as leaving:
        return _left(leaving)
    except PacelineError as error:
        if os.environ.get(DEBUG) == "1":
            raise
        return _failed(str(error), 2 if isinstance(error, ConfigError) else 1)
    except OutputLost as lost:
        return 1 if lost.gone else _failed(str(lost), 1)
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in LIBRARIES:
            raise
        return _failed(f"this needs {library}, which is not installed; {remedy(LIBRARIES[library])}", 1)
    except KeyboardInterrupt as stop:
        return exit_code(stop)
    return 0


def _left(leaving: SystemExit) -> int:
    """Return the exit code of a command that left, once what it wrote is on its way."""
    try:
        sys.stdout.flush()
    except OutputLost as lost:
        return 1 if lost.gone else _failed(str(lost), 1)
    return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)


def _failed(message: str, code: int) -> int:
    warn(message)
    return code


class _Stderr:
    """The stderr of the moment of writing."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def _line(_logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
    """Return an event as one line: level, event, and its values."""
    values = " ".join(f"{key}={value!r}" for key, value in event.items() if key != "event")
    return f"paceline: {method}: {event.get('event', '')} {values}".rstrip()


def _configure_logging(*, verbose: bool) -> None:
    """Send log events to stderr: warnings and worse, or everything when `verbose`."""
    import structlog  # noqa: PLC0415 - it takes longer to load than all else that a page of help needs

    structlog.configure(
        processors=[structlog.processors.format_exc_info, _line],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if verbose else logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(_Stderr()),  # type: ignore[arg-type]  # writes and flushes only
        cache_logger_on_first_use=False,
    )
