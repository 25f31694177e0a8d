"""The two scheduler classes for `--scheduler-cls`. The only module, beside the metrics, that needs vLLM."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import vllm
from vllm.platforms import current_platform
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.scheduler import Scheduler

from paceline import cpu_model
from paceline_vllm.compatibility import check_vllm
from paceline_vllm.engine import set_up
from paceline_vllm.mixin import PolicyMixin


class _WithPolicy(PolicyMixin):
    """Sets up the policy once vLLM's scheduler has set up itself."""

    def __init__(self, vllm_config: Any, *args: Any, **options: Any) -> None:
        check_vllm(vllm.__version__, Scheduler, SchedulerOutput)
        super().__init__(vllm_config, *args, **options)  # type: ignore[call-arg]
        table = self.dynamic_sd_lookup  # type: ignore[attr-defined]
        about = describe(vllm_config)
        self._paceline_begin(set_up(vllm_config, table=table, delay=self._paceline_delay, about=about))


class PolicyScheduler(_WithPolicy, Scheduler):  # type: ignore[misc]
    """vLLM's scheduler, with gamma chosen by a policy."""


class PolicyAsyncScheduler(_WithPolicy, AsyncScheduler):  # type: ignore[misc]
    """The same for engines that schedule a step before the last one is over."""

    _paceline_delay = 2


def describe(vllm_config: Any) -> dict[str, Any]:
    """Return what an engine is: that what is learnt of acceptance or of times may be kept under."""
    drafting, parallel = vllm_config.speculative_config, vllm_config.parallel_config
    device = current_platform.device_type
    return {
        "target": vllm_config.model_config.model,
        "draft": getattr(drafting, "model", None) or getattr(drafting, "method", None),
        "method": getattr(drafting, "method", None),
        "dtype": str(vllm_config.model_config.dtype),
        "num_speculative_tokens": getattr(drafting, "num_speculative_tokens", 0),
        "device": device,
        "hardware": cpu_model() if device == "cpu" else current_platform.get_device_name(),
        "tensor_parallel_size": parallel.tensor_parallel_size,
        "pipeline_parallel_size": parallel.pipeline_parallel_size,
        "engine": "vllm",
        "engine_version": vllm.__version__,
        "paceline_vllm": version("paceline-vllm"),
    }
