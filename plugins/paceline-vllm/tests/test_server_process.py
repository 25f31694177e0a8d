"""The server is a child: its fault is the last line, its end that of the command."""

import io
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from paceline import BackendError
from paceline_vllm.server_process import copy_output, run_server

LOG = b"""INFO something
(EngineCore pid=7) ERROR 11-28 [core.py:1] Traceback (most recent call last):
(EngineCore pid=7) ERROR 11-28 [core.py:1]   File "engine.py", line 3, in set_up
(EngineCore pid=7) ERROR 11-28 [core.py:1] paceline.core.errors.CapabilityError: policy X does not fit this engine
(EngineCore pid=7) ERROR 11-28 [core.py:1] Exception: it failed. See stack trace for root cause.
Exception: it failed. See stack trace for root cause.
(APIServer pid=5) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
"""


def test_the_cause_is_that_of_the_process_that_failed_first():
    to = io.BytesIO()
    assert copy_output(LOG.splitlines(keepends=True), to) == (
        "paceline.core.errors.CapabilityError: policy X does not fit this engine"
    )
    assert to.getvalue() == LOG
    assert copy_output(LOG.splitlines(keepends=True)[6:], io.BytesIO()).startswith(
        "RuntimeError: Engine core"
    )
    assert copy_output([b"no errors: none"], io.BytesIO()) is None


def test_a_server_that_fails_says_of_what(capfdbinary):
    code = "import sys; print('before'); sys.stdout.flush(); raise ValueError('no such draft')"
    with pytest.raises(BackendError, match=r"ended with code 1: ValueError: no such draft$"):
        run_server([sys.executable, "-c", code], os.environ)


def test_a_signal_is_handed_on_and_a_proper_end_is_one():
    code = (
        "import os, select, signal, sys, time\n"
        "closing = int(os.environ['PACELINE_CLOSING'])\n"
        "def told():\n    return bool(select.select([closing], [], [], 0)[0])\n"
        "assert not told()\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0 if told() else 4))\n"
        "print('ready', flush=True)\ntime.sleep(30)\nsys.exit(3)"
    )
    began = time.monotonic()
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    run_server([sys.executable, "-c", code], os.environ)
    timer.join()
    assert time.monotonic() - began < 20.0


def test_a_command_that_is_killed_takes_the_server_with_it(tmp_path):
    import subprocess

    note = tmp_path / "note"
    child = (
        f"import os, time, pathlib; path = pathlib.Path({str(note)!r}); "
        "path.with_suffix('.new').write_text(str(os.getpid())); path.with_suffix('.new').replace(path); time.sleep(60)"
    )
    parent = (
        "import sys, os; from paceline_vllm.server_process import run_server; "
        f"run_server([sys.executable, '-c', {child!r}], os.environ)"
    )
    with subprocess.Popen([sys.executable, "-c", parent], cwd=tmp_path) as process:
        until = time.monotonic() + 20.0
        while not note.exists():
            assert time.monotonic() < until
            time.sleep(0.02)
        process.kill()
    number = int(note.read_text())
    while alive(number):
        assert time.monotonic() < until
        time.sleep(0.02)


def alive(number):
    try:
        return Path(f"/proc/{number}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
