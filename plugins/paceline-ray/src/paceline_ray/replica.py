"""A replica: an engine whose policy shares what it learns."""

from __future__ import annotations

import atexit
import os
import socket
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import structlog

from paceline import Policy, RunConfig, Shareable, SpeculativeDecoder, StateKey, cpu_model
from paceline_ray.diary import Diary
from paceline_ray.engine import DecoderEngine
from paceline_ray.messages import Sums
from paceline_ray.sync import Exchange, Sync

log = structlog.get_logger()

PLACE = frozenset(
    {
        "device",
        "hardware",
        "engine_version",
        "paceline_vllm",
        "tensor_parallel_size",
        "pipeline_parallel_size",
    }
)
"""What an engine tells of itself that bears on times; all else it tells is about the models."""

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
        about["place"] = {
            "processor": cpu_model(),
            "versions": {name: _version(name) for name in TIMED_BY},
        }
    return StateKey.of(run["policy"], about)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


class Replica:
    """The engine of a run, and the thread that shares what its policy learns.

    Args:
        config: The run, as `replica_run` gives it.
        model: The name clients know the model by.
        name: The replica's name.
        connect: Finds the hub; None shares nothing.
        period_s: Seconds between two reports.
    """

    def __init__(
        self,
        config: RunConfig,
        *,
        model: str,
        name: str,
        connect: Callable[[], Exchange] | None = None,
        period_s: float = 1.0,
    ) -> None:
        if config.trace is not None:  # a file has one writer
            config = config.model_copy(
                update={"trace": config.trace.with_stem(f"{config.trace.stem}-{name}")}
            )
        decoder = config.build(interleaved=True)
        sampling, stop = config.generation.sampling(), config.generation.stop
        self.engine = DecoderEngine(decoder, model, sampling=sampling, stop=stop)
        self.sync: Sync | None = None
        policy = decoder.policy
        if connect is not None and isinstance(policy, Shareable):
            key = statistics_key(config, decoder, timed=policy.timed)
            counts = self.engine.counts.sums
            diary = Diary(name, uuid.uuid4().hex, policy, self.engine.lock, key, counts=counts)
            self.sync = Sync(diary, connect, period_s=period_s)
            self.sync.start()

    def close(self) -> None:
        """Let all requests go, report what was learnt, and close the decoder; takes some seconds at most."""
        if self.sync is not None:
            self.sync.close()
        self.engine.close()


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
    models = {key: value for key, value in info.items() if key not in PLACE | {"policy", "counts"}}
    place = {key: value for key, value in info.items() if key in PLACE}
    policy_name = str(policy.state_dict().get("policy", type(policy).__name__))
    name = f"{socket.gethostname()}-{os.getpid()}"
    key = StateKey.of(policy_name, models | ({"place": place} if policy.timed else {}))
    diary = Diary(name, uuid.uuid4().hex, policy, lock, key, counts=counts)
    sync = Sync(diary, connect)
    sync.start()
    atexit.register(sync.close, 2.0)
    return sync
