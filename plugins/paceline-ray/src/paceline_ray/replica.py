"""A replica: the run as replicas run it, its decoder, and the sharing of what its policy learns."""

from __future__ import annotations

import atexit
import os
import socket
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import structlog
from pydantic import ValidationError

from paceline import (
    Catalogue,
    ConfigError,
    ObservedRequest,
    PacelineError,
    Policy,
    PolicyConfig,
    Round,
    RunConfig,
    Shareable,
    SpeculativeDecoder,
    StateKey,
    Tally,
    cpu_model,
    load_config,
)
from paceline_ray.messages import Sums
from paceline_ray.sync import DeltaTracker, Exchange, Sync

log = structlog.get_logger()

FORGETTING_OPTIONS = ("discount", "idle_discount")
"""Options by which built-in policies forget."""

HARDWARE_KEYS = frozenset(
    {
        "device",
        "hardware",
        "engine_version",
        "paceline_vllm",
        "tensor_parallel_size",
        "pipeline_parallel_size",
    }
)
"""Facts about an engine that bear on times; all others are about the models."""

TIMED_BY = ("paceline", "torch", "transformers")
"""The packages whose versions may change how long a round takes."""


def statistics_key(config: RunConfig, decoder: SpeculativeDecoder, *, timed: bool) -> StateKey:
    """Return what the statistics of a run's policy are about, so that only like is added to like.

    Whether a draft's tokens are accepted is a matter of the models and the same everywhere, so it is pooled over all
    hardware. Seconds are not: `timed` statistics are pooled among replicas of the same processor and versions alone.
    """
    run = StateKey.of_run(config, decoder.target, decoder.drafts).about
    about = {"target": run["target"], "drafts": run["drafts"]}
    if timed:
        about["place"] = {"processor": cpu_model(), "versions": {name: _version(name) for name in TIMED_BY}}
    return StateKey.of(run["policy"], about)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


class RoundCounts:
    """Counts of all that a decoder has decoded, as its observer."""

    def __init__(self) -> None:
        self._requests, self._tally = 0, Tally()

    def on_start(self, request: ObservedRequest) -> None:
        """Count a request."""
        self._requests += 1

    def on_round(self, request: ObservedRequest, done: Round) -> None:
        """Count a round."""
        self._tally.add(done, done.total_s)

    def on_end(self, request: ObservedRequest, error: BaseException | None) -> None:
        """Count nothing: its rounds are counted."""

    def sums(self) -> dict[str, float]:
        """Return what was counted so far, under names such as "rounds" and "gamma/3"."""
        totals = self._tally.totals()
        return {
            "requests": float(self._requests),
            **{name: float(getattr(totals, name)) for name in ("rounds", "drafted", "accepted", "emitted")},
            **{f"gamma/{gamma}": float(rounds) for gamma, rounds in totals.gammas.items()},
        }


class Replica:
    """The decoder of a run, and the thread that shares what its policy learns.

    Args:
        config: The run, as `replica_run` gives it.
        name: The replica's name.
        connect: Finds the hub; None shares nothing.
        period_s: Seconds between two reports.
    """

    def __init__(
        self,
        config: RunConfig,
        *,
        name: str,
        connect: Callable[[], Exchange] | None = None,
        period_s: float = 1.0,
    ) -> None:
        if config.trace is not None:  # a file has one writer
            config = config.model_copy(
                update={"trace": config.trace.with_stem(f"{config.trace.stem}-{name}")}
            )
        counts = RoundCounts()
        self.decoder = config.build(observer=counts)
        self.sync: Sync | None = None
        policy = self.decoder.policy
        if connect is not None and isinstance(policy, Shareable):
            key = statistics_key(config, self.decoder, timed=policy.timed)
            turn = self.decoder.turn
            tracker = DeltaTracker(name, uuid.uuid4().hex, policy, turn, key, counts=counts.sums)
            self.sync = Sync(tracker, connect, period_s=period_s)
            self.sync.start()

    def close(self) -> None:
        """Report what was learnt, and close the decoder; takes some seconds at most."""
        if self.sync is not None:
            self.sync.close()
        self.decoder.close()


def join(policy: Policy, lock: AbstractContextManager[object], info: Mapping[str, Any]) -> Sync | None:
    """Share what the policy of a foreign engine learns, from within the engine's process; returns at once.

    This is what `{"paceline": {"sync": "paceline_ray.replica:join"}}` in vLLM's `additional_config` names.

    Args:
        policy: The engine's policy.
        lock: Held by the engine while it plans and observes.
        info: Which models, hardware and versions; and `counts`, if there is something to call for what else to show.

    Returns:
        What the engine closes when it shuts down; None for a policy that cannot share.
    """
    from paceline_ray.actor import connect  # noqa: PLC0415 - the rest needs no Ray

    if not isinstance(policy, Shareable):
        log.warning("not_shared", policy=type(policy).__name__, reason="its knowledge cannot be shared")
        return None
    counts: Callable[[], Sums] = info.get("counts", dict)
    models = {key: value for key, value in info.items() if key not in HARDWARE_KEYS | {"policy", "counts"}}
    place = {key: value for key, value in info.items() if key in HARDWARE_KEYS}
    policy_name = str(policy.state_dict().get("policy", type(policy).__name__))
    name = f"{socket.gethostname()}-{os.getpid()}"
    key = StateKey.of(policy_name, models | ({"place": place} if policy.timed else {}))
    tracker = DeltaTracker(name, uuid.uuid4().hex, policy, lock, key, counts=counts)
    sync = Sync(tracker, connect)
    sync.start()
    atexit.register(sync.close, 2.0)
    return sync


def replica_run(source: Path | str | Mapping[str, Any] | None, *, sharing: bool = True) -> RunConfig:
    """Return the run that each replica is to build.

    A policy that fails costs speed and never a request, unless the file says otherwise.

    Args:
        source: As for `paceline.load_config`.
        sharing: Whether replicas share what they learn.

    Raises:
        ConfigError: The run is not valid, or cannot be shared.
    """
    config = load_config(source).for_service()
    if sharing:
        if config.scope == "request":
            raise ConfigError(
                "scope: request makes a policy for each request, and replicas share what one policy learns; "
                "leave `scope` out, or do not share"
            )
        if config.state is not None:
            raise ConfigError(
                f"state: {config.state} would be written by every replica, beside the hub that keeps what all "
                "have learnt; leave `state` out and name a folder for the hub"
            )
        config = config.model_copy(update={"policy": without_forgetting(config.policy)})
    return config


def without_forgetting(policy: PolicyConfig) -> PolicyConfig:
    """Return the same policy without forgetting, which is the hub's task when replicas share.

    Raises:
        ConfigError: The policy cannot share what it learns, or is told to forget.
    """
    fading = [name for name in FORGETTING_OPTIONS if name in type(policy).model_fields]
    for name in fading:
        value = getattr(policy, name)
        if name in policy.model_fields_set and value != 1:
            raise ConfigError(
                f"policy.{name}: {value} lets every replica forget by itself, what others have learnt included; "
                "leave it out: where replicas share, the hub forgets, by its half-life"
            )
    try:
        steady = type(policy).model_validate(policy.model_dump() | dict.fromkeys(fading, 1.0))
        shareable = isinstance(steady.build(0), Shareable)
    except ValidationError:
        shareable = False
    if not shareable:
        raise ConfigError(
            f"policy {policy.name!r} cannot share what it learns; policies that can: {', '.join(shareable_names())}"
        )
    return steady


def shareable_names() -> list[str]:
    """Return the names of the installed policies whose knowledge replicas can share."""
    names = []
    for name, entry in Catalogue.load().policies.items():
        try:
            policy = entry.config.model_validate({"name": name}).build(0)
        except (ValidationError, PacelineError):
            continue
        if isinstance(policy, Shareable):
            names.append(name)
    return names
