"""Checks before the first token: whether vLLM's version, its settings and a policy go together.

The number of draft tokens became part of a step's output, where a scheduler may set it, in 0.24. Versions are told by
`vllm.__version__`, since the distribution is not always called vllm.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import structlog
from pydantic import BaseModel

from paceline import BackendError, ConfigError, check_fit
from paceline_vllm.adapter import NamedDraft, capabilities

if TYPE_CHECKING:
    from paceline import Policy, RunConfig
    from paceline_vllm.options import EngineOptions

OLDEST = (0, 24)
"""By inspection of the source: earlier versions have no `num_spec_tokens_to_schedule`."""

TESTED = ("0.29.0", "0.32.0")
"""Whole engines were run with these."""

METHODS = ("_update_after_schedule", "update_from_output", "schedule", "shutdown")
"""Methods of vLLM's scheduler that are extended."""

FIELDS = (
    "num_spec_tokens_to_schedule",
    "num_scheduled_tokens",
    "total_num_scheduled_tokens",
    "scheduled_spec_decode_tokens",
    "num_invalid_spec_tokens",
    "finished_req_ids",
    "preempted_req_ids",
)
"""Fields of a step's output that are read; the first one is set."""

DEFAULT_MAX_GAMMA = 4
"""The largest gamma where neither the command line nor the policy names one."""

log = structlog.get_logger()


def check_vllm(version: str, scheduler: type, output: type) -> None:
    """Refuse a vLLM that lacks what a policy needs; say so where it has it but was never tried.

    Args:
        version: `vllm.__version__`.
        scheduler: Its scheduler class.
        output: Its class of a step's output.

    Raises:
        BackendError: Names the versions that work.
    """
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    missing = [name for name in METHODS if not callable(getattr(scheduler, name, None))]
    missing += [name for name in FIELDS if name not in getattr(output, "__dataclass_fields__", {})]
    works = f"versions from {'.'.join(map(str, OLDEST))} on have it; {' and '.join(TESTED)} were tested"
    if missing:
        raise BackendError(f"this vLLM, {version}, lacks what a policy needs ({', '.join(missing)}): {works}")
    if numbers < OLDEST:
        raise BackendError(f"this vLLM, {version}, is too old to choose gamma by step: {works}")
    if not any(version.partition("+")[0] == tested for tested in TESTED):
        log.info("vllm_untested", version=version, tested=", ".join(TESTED))


def build_policy(options: EngineOptions, run: RunConfig, max_gamma: int, delay: int) -> Policy:
    """Return the policy of a run for an engine that drafts at most `max_gamma` tokens.

    Raises:
        CapabilityError: vLLM cannot do what the policy needs.
    """
    policy = run.policy.build(run.generation.seed if options.config else options.seed)
    check_fit(policy, capabilities(max_gamma, delay), {options.draft: NamedDraft()})
    return policy


def largest_gamma(block: Any) -> int | None:
    """Return the largest gamma that a policy's options ask for by name, those of policies inside it too, or None."""
    if isinstance(block, BaseModel):
        named = {name: getattr(block, name) for name in block.model_fields_set}
        own = [value for name, value in named.items() if name in {"gamma", "max_gamma"} and _number(value)]
        return max([*own, *_inside(named.values())], default=None)
    if isinstance(block, Mapping):
        return max(_inside(block.values()), default=None)
    return max(_inside(block), default=None) if isinstance(block, list | tuple) else None


def num_speculative_tokens(run: RunConfig, max_gamma: int | None) -> int:
    """Return vLLM's `num_speculative_tokens` for a run: `max_gamma`, else as the policy asks, else the default.

    Raises:
        ConfigError: The policy asks for more than `max_gamma`.
    """
    requested = largest_gamma(run.policy)
    if max_gamma is not None and requested is not None and requested > max_gamma:
        raise ConfigError(
            f"the policy asks for gammas up to {requested} and --max-gamma is {max_gamma}, which vLLM never "
            f"exceeds; leave --max-gamma out, or make it {requested}"
        )
    return max_gamma or requested or DEFAULT_MAX_GAMMA


def _inside(blocks: Iterable[Any]) -> list[int]:
    return [gamma for block in blocks if (gamma := largest_gamma(block)) is not None]


def _number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
