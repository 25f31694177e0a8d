"""Metrics of a policy's decisions, among vLLM's own Prometheus metrics.

vLLM finds this class through the entry-point group `vllm.stat_logger_plugins` and makes one for each engine in the
server's process. Where an engine has no policy of paceline it does nothing.
"""

from __future__ import annotations

import atexit
from functools import cache
from pathlib import Path
from time import monotonic
from typing import Any

from prometheus_client import Counter, Gauge
from vllm.v1.metrics.loggers import StatLoggerBase

from paceline_vllm.options import KEY
from paceline_vllm.status import read_status, status_file

PERIOD_S = 1.0


@cache  # Prometheus has one registry a process, and refuses a name twice.
def instruments() -> tuple[Gauge, Gauge, Counter, Counter]:
    """Return the metrics, registered once."""
    engine = ["engine"]
    return (
        Gauge("paceline_steps", "Steps by the gamma that the policy chose.", ["engine", "gamma"]),
        Gauge("paceline_policy_failed", "1 once the policy has failed and its fallback is used.", engine),
        Counter("paceline_drafted_tokens", "Draft tokens that were verified.", engine),
        Counter("paceline_accepted_tokens", "Draft tokens that were accepted.", engine),
    )


class PolicyStatLogger(StatLoggerBase):  # type: ignore[misc]
    """Counts drafted and accepted tokens, and shows the gammas chosen and whether the policy has failed."""

    def __init__(self, vllm_config: Any, engine_index: int = 0) -> None:
        config = vllm_config.additional_config
        self._options = config.get(KEY) if isinstance(config, dict) else None
        self._engine = str(engine_index)
        self._status: Path | None = None
        if self._options is not None:
            path = self._options.get("status")
            self._status = status_file(vllm_config) if path is None else Path(path)
        if self._status is not None:
            # vLLM kills an engine that does not end in time, and then nobody else removes it.
            atexit.register(self._status.unlink, missing_ok=True)
        self._read = 0.0

    def record(self, scheduler_stats: Any, iteration_stats: Any, *args: Any, **options: Any) -> None:
        """Take in one step; called by vLLM after each."""
        if self._status is None:
            return
        steps, failed, drafted, accepted = instruments()
        stats = getattr(scheduler_stats, "spec_decoding_stats", None)
        if stats is not None:
            drafted.labels(self._engine).inc(stats.num_draft_tokens)
            accepted.labels(self._engine).inc(stats.num_accepted_tokens)
        now = monotonic()
        if now - self._read < PERIOD_S:
            return
        self._read = now
        status = read_status(self._status)
        if status is not None:
            failed.labels(self._engine).set(float(status["failed"]))
            for gamma, count in status["gammas"].items():
                steps.labels(self._engine, gamma).set(count)

    def log_engine_initialized(self) -> None:
        """Do nothing; the engine's own log says which policy is at work."""
