"""The commands as a user runs them, on a Ray cluster that leaves no process behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from pathlib import Path

import pytest

START_S = 150.0
"""For a start of Ray, Serve and the models on two cores that others use as well; 20 seconds when they are idle."""

RUN = """
drafts:
  small: {backend: embedded, size: small}
policy: {name: survival, max_gamma: 8, score_share: 0}  # what is scored counts as accepted, and is no round's
"""


def processes(mark):
    """Return the numbers of the processes that were started under a mark."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"PACELINE_TEST={mark}".encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def kill(numbers):
    """Kill processes by their numbers; some may be gone."""
    for number in numbers:
        try:
            os.kill(number, signal.SIGKILL)
        except ProcessLookupError:
            continue


def wait_for(condition, seconds, what):
    """Return what a condition returns once it is true."""
    until = time.monotonic() + seconds
    while True:
        if found := condition():
            return found
        assert time.monotonic() < until, f"after {seconds} s still not: {what}"
        time.sleep(0.2)


class Command:
    """A run of `paceline-ray`."""

    def __init__(self, folder, *arguments):
        self.mark = uuid.uuid4().hex
        self.log = folder / "log.txt"
        environment = {
            **os.environ,
            "PACELINE_TEST": self.mark,
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
        }
        program = [str(Path(sys.executable).with_name("paceline-ray")), *map(str, arguments)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                program,
                cwd=folder,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def text(self):
        return self.log.read_text(encoding="utf-8", errors="replace")

    def end(self, patience_s):
        """Ask it to end; return its exit code and whatever processes it left, which are killed."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            code = None
        until = time.monotonic() + 10.0
        while (left := processes(self.mark)) and time.monotonic() < until:
            time.sleep(0.2)
        kill(left)
        if self.process.poll() is None:
            self.process.wait(10.0)
        return code, left


class Service:
    """Two replicas, served."""

    def __init__(self, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        (folder / "run.yaml").write_text(RUN, encoding="utf-8")
        self.command = Command(
            folder, "serve", "--config", "run.yaml", "--replicas", 2, "--port", self.port,
            "--half-life", 0, "--period", 0.5, "--keep", "kept",
        )  # fmt: skip
        self.url = f"http://127.0.0.1:{self.port}"

    def ready(self):
        def up():
            assert self.command.process.poll() is None, self.command.text()[-4000:]
            return "\nserving 'paceline' by 2 replica(s)" in self.command.text()

        wait_for(up, START_S, "serving")

    def complete(self, prompt, *, patience_s=30.0, **options):
        body = json.dumps({"model": "paceline", "prompt": prompt, **options}).encode()
        request = urllib.request.Request(
            f"{self.url}/v1/completions", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=patience_s) as answer:
            return json.load(answer)

    def known(self):
        with urllib.request.urlopen(f"{self.url}/paceline.json", timeout=10.0) as answer:
            subjects = json.load(answer)["subjects"]
        assert len(subjects) <= 1
        return subjects[0] if subjects else {"pool": {}, "counts": {}, "replicas": []}

    def settled(self):
        """Return what the hub knows once all rounds decoded so far are reported."""
        last = [None]

        def still():
            found = self.known()
            before, last[0] = last[0], found["counts"]
            return found if before == found["counts"] else time.sleep(1.2)

        return wait_for(still, 30.0, "all is reported")


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    if shutil.which("paceline-ray", path=str(Path(sys.executable).parent)) is None:
        pytest.skip("paceline-ray is not installed here")
    found = Service(tmp_path_factory.mktemp("service"))
    try:
        found.ready()
        yield found
    finally:
        code, left = found.command.end(60.0)
    assert code == 0, found.command.text()[-4000:]
    assert left == []


@pytest.fixture
def command(tmp_path):
    started = []

    def start(*arguments):
        started.append(Command(tmp_path, *arguments))
        return started[-1]

    yield start
    for one in started:
        one.end(30.0)


@pytest.fixture
def marked():
    """An environment by which a process and all that it starts are found again, and killed in the end."""
    mark = uuid.uuid4().hex
    yield {**os.environ, "PACELINE_TEST": mark, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    kill(processes(mark))


@pytest.fixture
def wait():
    return wait_for


@pytest.fixture
def by_name():
    """Finder of the number of a process of a cluster by a word of its title."""

    def find(service, word):
        found = []
        for number in processes(service.command.mark):
            try:
                title = Path(f"/proc/{number}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if word in title:
                found.append(number)
        return found

    return find
