"""vLLM replicas under Ray Serve LLM that plan by a paceline policy and share what it learns.

Needs the package paceline-vllm beside vLLM. Each replica's engine process runs the policy inside vLLM's scheduler;
there `paceline_ray.replica.join` starts the thread that talks to the hub.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paceline import BackendError, ConfigError, load_config
from paceline_ray.replica import without_forgetting

SCHEDULER = "paceline_vllm.PolicyScheduler"
JOIN = "paceline_ray.replica:join"
TABLE = "num_speculative_tokens_per_batch_size"
MANY = 4096
"""More requests than a step ever holds; the policy stands in for vLLM's own table from batch size to gamma."""


def engine_arguments(
    speculative_config: Mapping[str, Any],
    *,
    policy: str | Mapping[str, Any] = "survival",
    sharing: bool = True,
    **engine_kwargs: Any,
) -> dict[str, Any]:
    """Return vLLM's engine arguments for a policy.

    Args:
        speculative_config: vLLM's, with the drafting method and `num_speculative_tokens`, the largest gamma.
        policy: A policy's name, or a block as in a run file.
        sharing: Whether it shares what it learns.
        **engine_kwargs: Further engine arguments.

    Raises:
        ConfigError: The policy is not one, or cannot share; or there is no `num_speculative_tokens`.
        CapabilityError: vLLM cannot do what the policy needs.
    """
    most = speculative_config.get("num_speculative_tokens")
    if not isinstance(most, int) or most < 1:
        raise ConfigError(
            f"speculative_config.num_speculative_tokens is the largest gamma, a whole number; found {most!r}"
        )
    chosen = load_config({"policy": policy}).policy
    steady = without_forgetting(chosen) if sharing else chosen
    block: dict[str, Any] = {"policy": steady.model_dump(mode="json")}
    _check_fit(block, most)
    if sharing:
        block["sync"] = JOIN
    taken = {"scheduler_cls", "additional_config"} & engine_kwargs.keys()
    if taken:
        raise ConfigError(f"{', '.join(sorted(taken))}: set by this helper; leave it out")
    return {
        **engine_kwargs,
        "speculative_config": {TABLE: [[1, MANY, most]], **speculative_config},
        "scheduler_cls": SCHEDULER,
        "additional_config": {"paceline": block},
    }


def _check_fit(block: Mapping[str, Any], most: int) -> None:
    """See that vLLM can serve a policy, where paceline-vllm is here too; else the engine says so when it starts."""
    try:
        from paceline_vllm.compatibility import build_policy  # noqa: PLC0415 - replicas have it, a driver may not
        from paceline_vllm.options import EngineOptions  # noqa: PLC0415
    except ImportError:
        return
    options = EngineOptions.model_validate(block)
    build_policy(options, options.run(), most, 1)


def llm_config(
    model_id: str,
    model_source: str,
    speculative_config: Mapping[str, Any],
    *,
    replicas: int = 1,
    policy: str | Mapping[str, Any] = "survival",
    sharing: bool = True,
    engine_kwargs: Mapping[str, Any] | None = None,
    **options: Any,
) -> Any:
    """Return an `LLMConfig` for `ray.serve.llm.build_openai_app`.

    Args:
        model_id: The name clients know the model by.
        model_source: Where the model is.
        speculative_config: As for `engine_arguments`.
        policy: As for `engine_arguments`.
        sharing: As for `engine_arguments`.
        replicas: How many engines; vLLM's own data parallelism switches a changing gamma off.
        engine_kwargs: Further engine arguments.
        **options: Further fields of `LLMConfig`, such as `accelerator_type`.

    Raises:
        BackendError: Ray Serve LLM is not installed.
        ConfigError: As `engine_arguments`.
    """
    arguments = engine_arguments(speculative_config, policy=policy, sharing=sharing, **(engine_kwargs or {}))
    try:
        from ray.serve.llm import LLMConfig  # noqa: PLC0415
    except ImportError as error:
        raise BackendError(
            f"Ray Serve LLM is missing ({error}); pip install 'ray[llm]'; in paceline's source folder, "
            "pip install . ./plugins/paceline-vllm"
        ) from error
    return LLMConfig(
        model_loading_config={"model_id": model_id, "model_source": model_source},
        deployment_config={"num_replicas": replicas},
        engine_kwargs=arguments,
        **options,
    )
