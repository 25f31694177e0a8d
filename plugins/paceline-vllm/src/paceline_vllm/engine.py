"""From vLLM's configuration to a policy at work: what is read, refused, opened and closed once an engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from threading import Lock
from typing import TYPE_CHECKING, Any

import structlog

from paceline import Capabilities, CapabilityError, ConfigError, Plan, TraceWriter
from paceline_vllm.adapter import Adapter, capabilities
from paceline_vllm.compatibility import build_policy, largest_gamma
from paceline_vllm.options import read_options
from paceline_vllm.status import StatusWriter, status_file

if TYPE_CHECKING:
    from paceline import Clock

log = structlog.get_logger()


@dataclass(slots=True)
class Setup:
    """Parts that one engine works with.

    Attributes:
        adapter: Between steps and rounds.
        trace: Where rounds are written, if anywhere.
        fixed_plan: The plan of every step where vLLM takes none from a policy; None where it does.
        shared: What `sync` returned; closed with the engine if it can be.
        status: What hands counters to the metrics.
    """

    adapter: Adapter
    trace: TraceWriter | None
    fixed_plan: Plan | None
    shared: Any
    status: StatusWriter

    def record(self, request: Any) -> Any:
        """Return what records a request's rounds, or None without a trace."""
        if self.trace is None:
            return None
        prompt = request.prompt_token_ids
        return self.trace.begin([] if prompt is None else list(prompt), request.max_tokens)

    def close(self) -> None:
        """Close the trace and what shares; called when the engine shuts down."""
        self.status.close()
        if self.trace is not None:
            self.trace.close()
        close = getattr(self.shared, "close", None)
        if callable(close):
            close()


def set_up(
    vllm_config: Any, *, table: object, delay: int, about: Mapping[str, Any], clock: Clock | None = None
) -> Setup:
    """Read the configuration of an engine, build its policy, and see that they fit.

    Args:
        vllm_config: vLLM's own configuration.
        table: vLLM's table of draft tokens by batch size; None when it has none.
        delay: Steps until a decision takes effect.
        about: What the engine knows of itself: models, versions, hardware.
        clock: Where seconds come from, if not the wall clock.

    Raises:
        ConfigError: The options, the run file or vLLM's own flags are wrong.
        CapabilityError: vLLM cannot do what the policy needs.
    """
    options = read_options(vllm_config.additional_config)
    run = options.run()
    max_gamma = _max_gamma(vllm_config)
    fixed_plan = _fixed_plan(vllm_config, table, max_gamma, options.draft)
    engine = capabilities(max_gamma, delay)
    policy = build_policy(options, run, max_gamma, delay)
    requested = largest_gamma(run.policy)
    if requested is not None and requested > max_gamma:
        log.warning(
            "policy_narrowed",
            reason=f"the policy asks for gammas up to {requested}, and num_speculative_tokens is {max_gamma}",
            action=f"gamma is {max_gamma} at most; to have more, raise num_speculative_tokens",
        )
    lock = Lock()
    path = options.trace or run.trace
    adapter = Adapter(
        policy,
        engine,
        draft=options.draft,
        lock=lock,
        clock=clock,
        fallback_gamma=options.fallback_gamma,
        rounds_per_step=options.rounds_shown(),
        traced=path is not None,
    )
    info = {**about, "policy": run.policy.model_dump(mode="json"), "draft_name": options.draft}
    share = options.sync_function()
    writer = StatusWriter(options.status or status_file(vllm_config), adapter.counters)
    trace = TraceWriter(path, _header(info, engine)) if path is not None else None
    log.info("policy_at_work", policy=run.policy.name, gammas=f"0..{max_gamma}", action_delay=delay)
    shared = share(policy, lock, {**info, "counts": adapter.gamma_counts}) if share else None
    return Setup(adapter, trace, fixed_plan, shared, writer)


def _header(info: Mapping[str, Any], engine: Capabilities) -> dict[str, Any]:
    return {
        "engine": "vllm",
        "paceline": version("paceline"),
        "latency": engine.latency,
        "action_delay": engine.action_delay,
        **info,
    }


def _max_gamma(vllm_config: Any) -> int:
    drafting = vllm_config.speculative_config
    if drafting is None:
        raise ConfigError(
            "vLLM drafts nothing here: give --speculative-config with `method` or `model`, "
            "`num_speculative_tokens`, the largest gamma, and `num_speculative_tokens_per_batch_size`"
        )
    if drafting.method == "custom_class":
        raise CapabilityError("drafts of the method custom_class are not told how many tokens to propose")
    return int(drafting.num_speculative_tokens)


def _fixed_plan(vllm_config: Any, table: object, max_gamma: int, draft: str) -> Plan | None:
    """Return None where vLLM takes gamma from us, and the plan it follows where it does not.

    Without its table vLLM pads steps to the largest gamma. With data parallelism it drops the table, since ranks that
    draft different numbers of tokens may wait for each other for ever; an engine cannot always tell why there is none.
    """
    if table is not None:
        return None
    seats = vllm_config.scheduler_config.max_num_seqs
    log.warning(
        "policy_only_observes",
        reason="vLLM has no `num_speculative_tokens_per_batch_size`, and without it the same gamma in every step",
        action=f"gamma {max_gamma}; add [[1, {seats}, {max_gamma}]] to --speculative-config. With data "
        "parallelism vLLM drops it: scale by replicas instead, each with its own engine",
    )
    return Plan(max_gamma, draft, reason="fixed")
