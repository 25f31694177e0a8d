"""The command line, run as a user runs it, on the toy pair."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

TOY = """\
target: {backend: toy, seed: 3}
drafts:
  good: {backend: toy, agreement: 0.9}
generation: {max_new_tokens: 40}
"""
SLOW_TOY = TOY.replace("seed: 3", "seed: 3, step_s: 0.02").replace("40", "5000")


class Cli:
    """Calls `paceline` in a folder of its own, without the PACELINE_ variables of whoever runs the tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def call(self, *arguments, stdin="", code=None, **variables):
        """Run to the end; with `code`, check the exit code."""
        done = subprocess.run(
            [sys.executable, "-Im", "paceline.cli", *map(str, arguments)],
            input=stdin,
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=self.environment() | variables,
            timeout=60,
            check=False,
        )
        if code is not None:
            assert code == done.returncode, done.stdout + done.stderr
        return done

    def start(self, *arguments):
        """Start and return the process."""
        return subprocess.Popen(
            [sys.executable, "-Im", "paceline.cli", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=self.environment(),
            # Whoever runs the tests in the background of a shell ignores interrupts, and that would be inherited.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads here
        )

    @staticmethod
    def environment():
        return {name: value for name, value in os.environ.items() if not name.startswith("PACELINE_")}

    def file(self, name, text):
        """Write a file and return its path."""
        (self.folder / name).write_text(text)
        return self.folder / name


@pytest.fixture(scope="session")
def cli_in():
    """Return what makes a `Cli` for a folder, for what several tests share."""
    return Cli


@pytest.fixture
def cli(tmp_path):
    return Cli(tmp_path)


@pytest.fixture
def toy(cli):
    return cli.file("run.yaml", TOY)


@pytest.fixture
def slow_toy(cli):
    return cli.file("slow.yaml", SLOW_TOY)
