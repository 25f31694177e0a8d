"""An application from start to end, as an operator meets it: what failed, whose port it is, what is under way."""

from __future__ import annotations

import json
import re
import signal
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any, NoReturn

from paceline import BackendError, RunConfig, check_fit
from paceline_ray import actor
from paceline_ray.serving import APP

RAISED = re.compile(r"[\w.]*(?:Error|Exception|Interrupt|Exit)\b: ")
"""Beginning of the last line of a traceback."""

PATIENCE_S = 20.0
"""Seconds that Ray may take over what needs no decoding."""

PROBES = 8
"""Connections by which `check_ours` looks; of two servers on one port, the other one gets each with even odds."""


class Stopped(BaseException):
    """The process was told to end.

    Attributes:
        code: The exit code that says so: 128 + the signal's number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


def raise_on_signals() -> None:
    """Let SIGINT and SIGTERM raise `Stopped` from now on. Ray sets its own handlers whenever it starts."""

    def stop(number: int, _frame: FrameType | None) -> NoReturn:
        raise Stopped(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)


def missing_requirements(run: RunConfig) -> list[str]:
    """Return what keeps a run from starting on this machine, as far as it shows before a weight is read.

    Raises:
        CapabilityError: The target cannot do what the policy needs.
    """
    target = run.target.check_target(run)
    drafts: dict[str, Any] = {name: block.check_draft(run, target) for name, block in run.drafts.items()}
    problems = [f"target: {problem}" for problem in target.problems]
    for name, readiness in drafts.items():
        problems += [f"drafts.{name}: {problem}" for problem in readiness.problems]
    if not problems:
        check_fit(run.policy.build(run.generation.seed), target.capabilities, drafts)
    return problems


def start(application: Any) -> None:
    """Run an application until all its replicas are up.

    Raises:
        BackendError: They do not come up; says what the replicas said, not what Ray says of them.
    """
    serve = actor.ray("ray.serve")
    try:
        serve.run(application, name=APP, route_prefix="/")
    except RuntimeError as error:
        status = serve.status().applications.get(APP)
        messages = (
            [] if status is None else [deployment.message for deployment in status.deployments.values()]
        )
        raise BackendError(f"the replicas do not start: {cause([*messages, str(error)])}") from None


def cause(messages: Iterable[str]) -> str:
    """Return the last line of the first message that ends in what was raised; else the last line of all.

    A replica's fault comes as a traceback, amid what Ray has to say of it.
    """
    lines: list[str] = []
    for message in messages:
        lines = [line.strip() for line in message.splitlines() if line.strip()] or lines
        raised = [line for line in lines if RAISED.match(line)]
        if raised:
            return raised[-1]
    return lines[-1] if lines else "Ray says no more"


def drained(seconds: float) -> bool:
    """Let replicas send new requests away and finish what is under way; return whether that was done in time."""
    handle = actor.ray("ray.serve").get_app_handle(APP)
    until = time.monotonic() + seconds
    while True:
        left = sum(handle.broadcast("finish").results(timeout_s=PATIENCE_S))
        if not left or time.monotonic() >= until:
            return not left
        time.sleep(0.1)


def check_own_server(url: str, server: str) -> None:
    """See that what answers at an address is the server that was just started, and nobody else as well.

    Raises:
        BackendError: It is not, or nobody answers.
    """
    for _ in range(PROBES):
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=10.0) as answer:  # noqa: S310 - ours
                problems = json.load(answer)
        except (OSError, ValueError) as error:
            raise BackendError(f"nobody answers as this server at {url} ({error})") from None
        if not isinstance(problems, dict) or problems.get("server") != server:
            raise BackendError(f"another server answers at {url} as well; end it, or choose another --port")


def within(seconds: float, work: Callable[[], None]) -> None:
    """Do something, but wait no longer: a cluster whose head was killed along with this command answers nobody."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
