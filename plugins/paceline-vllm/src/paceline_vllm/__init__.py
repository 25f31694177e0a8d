"""paceline's policies inside vLLM: scheduler classes for `--scheduler-cls`.

`PolicyScheduler` and `PolicyAsyncScheduler` load on first use, since they need vLLM; everything else does without.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paceline_vllm.scheduler import PolicyAsyncScheduler, PolicyScheduler

__all__ = ["PolicyAsyncScheduler", "PolicyScheduler"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("paceline_vllm.scheduler"), name)
