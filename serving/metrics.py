"""Metrics of a server, for Prometheus: requests, tokens, drafts, gammas, acceptance, waiting and times."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from paceline.core.errors import DeadlineError

if TYPE_CHECKING:
    from paceline.core.observing import ObservedRequest
    from paceline.core.records import Round

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0, 120.0, 300.0)
RATES = (1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0)
GAMMAS = (*range(9), 10, 12, 16, 24, 32, 64)
SHARES = tuple(tenth / 10 for tenth in range(11))
PLAIN = "none"
"""Name of the draft of rounds without one."""


class Metrics:
    """Counts the rounds of a decoder, as its observer, and the responses of its server.

    Shares of drafted tokens, tokens a second and the like are ratios of counters, for Prometheus to work out over any
    span of time; the histograms are by request.
    """

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)

        def counter(name: str, help_text: str, *labels: str) -> Counter:
            return Counter(f"paceline_{name}", help_text, labels, registry=registry)

        def histogram(name: str, help_text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"paceline_{name}", help_text, buckets=buckets, registry=registry)

        self._requests = counter("requests", "Requests decoded, by how they ended", "ended")
        self._prompt_tokens = counter("prompt_tokens", "Tokens of prompts")
        self._generation_tokens = counter("generation_tokens", "Tokens delivered")
        self._rounds = counter("rounds", "Rounds, by the draft that the policy chose", "draft")
        self._drafted = counter("drafted_tokens", "Tokens proposed", "draft")
        self._accepted = counter("accepted_tokens", "Tokens proposed that the target agreed with", "draft")
        self._decode_s = counter("decode_seconds", "Seconds in rounds")
        self._gamma = histogram("gamma", "Draft tokens planned for a round", GAMMAS)
        self._acceptance = histogram("request_acceptance", "Share of the drafted tokens accepted", SHARES)
        self._first_s = histogram("time_to_first_token_seconds", "From a request to its first round", SECONDS)
        self._request_s = histogram("request_seconds", "From a request to its end", SECONDS)
        self._rate = histogram("request_tokens_per_second", "Tokens a second after the first round", RATES)
        self._responses = counter("http_responses", "HTTP responses, by status", "status")
        self._active = Gauge("paceline_requests_active", "Requests that have begun", registry=registry)
        self._waiting = Gauge("paceline_requests_waiting", "Requests that wait in line", registry=registry)

    def on_start(self, request: ObservedRequest) -> None:
        """Count the prompt."""
        self._prompt_tokens.inc(request.prompt_tokens)

    def on_round(self, request: ObservedRequest, done: Round) -> None:
        """Count a round."""
        draft = done.plan.draft or PLAIN
        self._rounds.labels(draft).inc()
        self._gamma.observe(done.plan.gamma)
        self._generation_tokens.inc(done.emitted)
        self._decode_s.inc(done.total_s)
        if done.drafted:
            self._drafted.labels(draft).inc(done.drafted)
            self._accepted.labels(draft).inc(done.accepted)

    def on_end(self, request: ObservedRequest, error: BaseException | None) -> None:
        """Count a request by how it ended."""
        totals = request.tally.totals()
        if isinstance(error, DeadlineError):
            ended = "deadline"
        else:
            ended = "error" if error is not None else request.tally.ended or "cancelled"
        self._requests.labels(ended).inc()
        if totals.drafted:
            self._acceptance.observe(totals.acceptance)

    def on_response(self, status: int) -> None:
        """Count a response."""
        self._responses.labels(str(status)).inc()

    def on_text(self, *, first_s: float, seconds: float, tokens_after_first: int) -> None:
        """Count the times of a text that was delivered to its end, as its client saw them."""
        self._first_s.observe(first_s)
        self._request_s.observe(seconds)
        if tokens_after_first and seconds > first_s:
            self._rate.observe(tokens_after_first / (seconds - first_s))

    def text(self, counts: Callable[[], tuple[int, int]]) -> bytes:
        """Return everything as Prometheus reads it; `counts` tells how many requests have begun, and how many wait."""
        active, waiting = counts()
        self._active.set(active)
        self._waiting.set(waiting)
        return generate_latest(self._registry)

    content_type = CONTENT_TYPE_LATEST
