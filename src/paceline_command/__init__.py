"""The `paceline` command, before anything of paceline is imported.

Importing takes a moment, in which there is nothing to put in order: an interrupt ends the process at once, as the
system does it, without a traceback. It stands outside the package, whose own import is part of that moment.
"""

from __future__ import annotations

import signal


def main() -> None:
    """Run the command line and leave the process with its exit code."""
    # Ignored interrupts, as of jobs in the background of a shell, stay ignored.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from paceline.cli.app import main as run  # noqa: PLC0415

    run()
