"""The hub as a named, detached Ray actor, and how replicas reach it."""

from __future__ import annotations

import os
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import structlog

from paceline import BackendError, private_folder
from paceline_ray.hub import Hub
from paceline_ray.messages import Answer, Report
from paceline_ray.sync import Exchange

log = structlog.get_logger()

REMEDY = "pip install 'ray[serve,data]>=2.60'"
NAME, NAMESPACE = "paceline-hub", "paceline"
PATIENCE_S = 5.0
"""Seconds that an answer may take; the hub needs milliseconds."""


def ray(module: str = "ray") -> Any:
    """Return the module `ray`, or one of its parts; most of this package works without.

    Raises:
        BackendError: It is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise BackendError(f"{module} is missing ({error}); {REMEDY}") from error


class HubActor(Hub):
    """The hub in a process of its own.

    Without a folder it keeps its accounts in the user's cache on its machine for as long as the Ray node lives, so that
    a hub that was killed comes back as it was.
    """

    def __init__(self, half_life_s: float | None, folder: str | None) -> None:
        self._own = None if folder is not None else _own_folder()
        super().__init__(half_life_s=half_life_s, folder=folder or self._own)

    def process(self) -> int:
        """Return the number of the hub's process."""
        return os.getpid()

    def clear(self) -> None:
        """Remove its own folder; called before the hub is ended for good."""
        if self._own is not None:
            shutil.rmtree(self._own, ignore_errors=True)


def start_hub(*, half_life_s: float | None, folder: Path | None = None) -> Any:
    """Return the cluster's hub, started if there is none; Ray starts it again whenever its process dies.

    Args:
        half_life_s: Seconds until evidence weighs half; None forgets nothing.
        folder: Where it keeps what it knows; give one to keep it longer than the cluster.
    """
    place = None if folder is None else str(folder.absolute())
    options = {"name": NAME, "namespace": NAMESPACE, "lifetime": "detached", "get_if_exists": True}
    return ray().remote(HubActor).options(**options, max_restarts=-1, num_cpus=0).remote(half_life_s, place)


def end_hub() -> None:
    """End the cluster's hub for good, if there is one."""
    module = ray()
    try:
        hub = module.get_actor(NAME, namespace=NAMESPACE)
        module.get(hub.clear.remote(), timeout=PATIENCE_S)
        module.kill(hub, no_restart=True)
    except (ValueError, module.exceptions.RayError):
        return


def connect() -> Exchange:
    """Return what exchanges with the hub of this machine's cluster.

    Raises:
        ValueError: The cluster has no hub.
        ConnectionError: There is no cluster.
    """
    module = ray()
    if not module.is_initialized():
        module.init(address="auto", namespace=NAMESPACE, log_to_driver=False, configure_logging=False)
    hub = module.get_actor(NAME, namespace=NAMESPACE)

    def exchange(report: Report) -> Answer:
        answer: Answer = module.get(hub.exchange.remote(report), timeout=PATIENCE_S)
        return answer

    return exchange


def _own_folder() -> str | None:
    node = ray().get_runtime_context().get_node_id()
    try:
        return str(private_folder(f"hub-{node[:24]}"))
    except OSError as error:
        log.warning(
            "hub_keeps_nothing",
            reason=str(error),
            action="killed, it is told again by the replicas that live",
        )
        return None
