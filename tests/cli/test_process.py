"""Streams that are closed, full, or left by their reader; signals at any moment; libraries that are missing."""

import itertools
import json
import signal
import subprocess
import sys
import time

import pytest

from paceline.core.environment import LIBRARIES

MAIN = "from paceline_command import main; main()"


def shell(cli, line):
    """Run a line of a shell in which `paceline` stands for the command."""
    start = f"{sys.executable} -Ic '{MAIN}'"
    return subprocess.run(
        ["bash", "-c", f'paceline() {{ {start} "$@"; }}; {line}'],
        capture_output=True,
        text=True,
        cwd=cli.folder,
        env=cli.environment(),
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("command", "where"),
    [
        ("schema", "> /dev/full"),
        ("plugins", ">&-"),
        ("generate a -c run.yaml -q", "> /dev/full"),
        ("generate a -c run.yaml -q", ">&-"),
    ],
)
def test_a_stdout_that_takes_nothing_is_one_message_and_exit_code_1(cli, toy, command, where):
    done = shell(cli, f"paceline {command} {where}")

    assert done.returncode == 1
    assert done.stderr.startswith("paceline: stdout cannot be written: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("command", "code", "where"),
    [
        ("generate a -c run.yaml", 0, "2> /dev/full"),
        ("generate a -c run.yaml", 0, "2>&-"),
        ("generate a -c nowhere.yaml", 2, "2>&-"),
        ("--no-such-option", 2, "2> /dev/full"),
    ],
)
def test_a_stderr_that_takes_nothing_costs_messages_only(cli, toy, command, code, where):
    done = shell(cli, f"paceline {command} {where}")

    assert (done.returncode, done.stderr) == (code, "")
    assert bool(done.stdout) is (code == 0)


def test_no_file_takes_the_place_of_a_closed_stream(cli, toy):
    done = shell(cli, "paceline generate a -c run.yaml --trace run.jsonl <&- >&- 2>&-")

    assert done.returncode == 1
    lines = (cli.folder / "run.jsonl").read_text().splitlines()
    assert all(isinstance(json.loads(line), dict) for line in lines)


def test_a_reader_that_goes_away_ends_the_command_without_a_word(cli):
    done = shell(cli, "paceline schema | head -c 1; exit ${PIPESTATUS[0]}")

    assert (done.returncode, done.stdout, done.stderr) == (1, "{", "")


def test_a_stream_in_another_encoding_gets_what_it_can_hold(cli):
    script = "from paceline.cli._process import settle; settle(); print('gamm\\u00e4')"
    done = subprocess.run(
        [sys.executable, "-Pc", script],
        capture_output=True,
        text=True,
        env=cli.environment() | {"PYTHONIOENCODING": "ascii"},
        check=True,
    )

    assert done.stdout == "gamm\\xe4\n"


def started(cli, config, **handlers):
    """Start `generate` with these handlers of signals, and wait until Python runs."""

    def before():
        for name, handler in {"SIGINT": signal.SIG_DFL, **handlers}.items():
            signal.signal(getattr(signal, name), handler)

    process = subprocess.Popen(
        [sys.executable, "-Ic", f"print(1, flush=True); {MAIN}", "generate", "the", "-c", str(config), "-q"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=cli.environment(),
        preexec_fn=before,  # noqa: PLW1509 - no threads here
    )
    assert process.stdout.readline() == "1\n"
    return process


def test_a_signal_at_any_moment_ends_the_command_as_it_should(cli, slow_toy):
    numbers = itertools.cycle([signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    for after, number in zip((0.0, 0.02, 0.06, 0.12, 0.25, 0.5, 1.0, 1.0), numbers, strict=False):
        process = started(cli, slow_toy)
        time.sleep(after)
        process.send_signal(number)
        _, said = process.communicate(timeout=30)

        # Either the system ended it, which shells show as 128 + number too, or the command did.
        assert process.returncode in {-number, 128 + number}, (after, said)
        if after >= 0.1 or number != signal.SIGINT:  # before our first line Python answers
            assert "Traceback" not in said


def test_a_hangup_that_is_ignored_stays_ignored(cli, toy):
    process = started(cli, toy, SIGHUP=signal.SIG_IGN)
    while process.poll() is None:
        process.send_signal(signal.SIGHUP)
        time.sleep(0.05)

    assert len(process.communicate()[0]) > 5
    assert process.returncode == 0


def test_an_interrupted_import_is_an_interruption_whatever_comes_of_it(cli):
    (cli.folder / "late.py").write_text(
        "import os, signal\n"
        "try:\n    os.kill(os.getpid(), signal.SIGTERM)\nexcept BaseException:\n    raise ImportError\n"
    )
    script = (
        f"import sys; sys.path.insert(0, {str(cli.folder)!r})\nfrom paceline.cli import app\n"
        "def broken(name): import late\napp.load = broken\nsys.exit(app.run(['doctor']))"
    )
    done = subprocess.run([sys.executable, "-Ic", script], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (143, "")


LACKING = {
    "numpy": ["record", "record --synthetic all", "replay", "regret", "report", "tune", "export"],
    "matplotlib": ["report"],
    "jinja2": ["report"],
    "zstandard": ["record -c run.yaml"],
    "torch": ["generate a"],
}


@pytest.mark.parametrize("libraries", [["numpy"], ["matplotlib", "zstandard", "torch"], ["jinja2"]])
def test_a_missing_library_is_named_with_the_extra_that_brings_it(cli, toy, libraries):
    calls = [(library, command.split()) for library in libraries for command in LACKING[library]]
    script = (
        "import contextlib, io, json, sys\n"
        f"sys.modules |= dict.fromkeys({libraries!r})\n"
        "from paceline.cli.app import run\n"
        "def called(command):\n"
        "    with contextlib.redirect_stderr(io.StringIO()) as said: return run(command), said.getvalue()\n"
        f"print(json.dumps([called(command) for _, command in {calls!r}]))"
    )
    done = subprocess.run(
        [sys.executable, "-Ic", script],
        capture_output=True,
        text=True,
        cwd=cli.folder,
        env=cli.environment(),
        check=True,
    )

    for (library, command), (code, said) in zip(calls, json.loads(done.stdout), strict=True):
        assert (code, command) == (1, command)
        assert library in said
        assert f"pip install '.[{LIBRARIES[library]}]'" in said
    assert not (cli.folder / "runs").exists()
