"""The command line, run as a user runs it, on the toy pair."""

import functools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ..shared.chat_model import write_chat_model

TOY = """\
target: {backend: toy, seed: 3}
drafts:
  good: {backend: toy, agreement: 0.9}
generation: {max_new_tokens: 40}
"""
SLOW_TOY = TOY.replace("seed: 3", "seed: 3, step_s: 0.02").replace("40", "5000")


FORKING = """
import json, os, signal, sys
from paceline.cli.app import COMMANDS, load, main

for name in COMMANDS:
    load(name)  # once, for all commands that are forked off
for line in sys.stdin:
    arguments, folder, environment, streams = json.loads(line)
    child = os.fork()
    if child == 0:
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()
signal.alarm(60)
os.chdir(folder)
os.environ.clear()
os.environ.update(environment)
for number, path in enumerate(streams):
    os.dup2(os.open(path, os.O_RDWR), number)
sys.stdin = open(0, closefd=False)
main(arguments)
"""


@functools.cache
def forking():
    """Return a process that forks for each command: that is a process of its own, but has nothing to import."""
    return subprocess.Popen(
        [sys.executable, "-Ic", FORKING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


class Cli:
    """Calls `paceline` in a folder of its own, without the PACELINE_ variables of whoever runs the tests."""

    def __init__(self, folder: Path, streams: Path) -> None:
        self.folder = folder
        self.streams = [streams / name for name in ("stdin", "stdout", "stderr")]

    def call(self, *arguments, stdin="", code=None, **variables):
        """Run to the end; with `code`, check the exit code."""
        for path, text in zip(self.streams, (stdin, "", ""), strict=True):
            path.write_text(text, encoding="utf-8")
        words = [str(argument) for argument in arguments]
        request = [words, str(self.folder), self.environment() | variables, [*map(str, self.streams)]]
        print(json.dumps(request), file=forking().stdin, flush=True)
        left = int(forking().stdout.readline())
        done = subprocess.CompletedProcess(
            words, left, *(path.read_text("utf-8") for path in self.streams[1:])
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
def cli_in(tmp_path_factory):
    """Return what makes a `Cli` for a folder, for what several tests share."""
    yield lambda folder: Cli(folder, tmp_path_factory.mktemp("streams"))
    if forking.cache_info().currsize:
        with forking() as process:  # ends when its input is closed
            process.stdin.close()


@pytest.fixture
def cli(tmp_path, cli_in):
    return cli_in(tmp_path)


@pytest.fixture
def toy(cli):
    return cli.file("run.yaml", TOY)


@pytest.fixture
def slow_toy(cli):
    return cli.file("slow.yaml", SLOW_TOY)


@pytest.fixture(scope="session")
def chat_model(tmp_path_factory):
    """Return a folder with the embedded target under a chat template."""
    return write_chat_model(tmp_path_factory.mktemp("chat") / "model")
