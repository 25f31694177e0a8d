"""Whether a policy and vLLM fit each other: seen when an engine starts, and before, when nothing is loaded yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from paceline import ConfigError, check_fit
from paceline_vllm.adapter import NamedDraft, capabilities

if TYPE_CHECKING:
    from paceline import Policy, RunConfig
    from paceline_vllm.options import EngineOptions

USUAL = 4
"""The largest gamma where nobody says another."""


def fitting_policy(options: EngineOptions, run: RunConfig, most: int, delay: int) -> Policy:
    """Return the policy of a run for an engine that drafts at most `most` tokens.

    Raises:
        CapabilityError: vLLM cannot do what the policy needs.
    """
    policy = run.policy.build(run.generation.seed if options.config else options.seed)
    check_fit(policy, capabilities(most, delay), {options.draft: NamedDraft()})
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


def most_drafted(run: RunConfig, given: int | None) -> int:
    """Return vLLM's `num_speculative_tokens` for a run: as given, else as the policy asks, else the usual.

    Raises:
        ConfigError: The policy asks for more than is given.
    """
    asked = largest_gamma(run.policy)
    if given is not None and asked is not None and asked > given:
        raise ConfigError(
            f"the policy asks for gammas up to {asked} and --max-gamma is {given}, which vLLM never exceeds; leave "
            f"--max-gamma out, or make it {asked}"
        )
    return given or asked or USUAL


def _inside(blocks: Iterable[Any]) -> list[int]:
    return [gamma for block in blocks if (gamma := largest_gamma(block)) is not None]


def _number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
