"""Which vLLM this works with.

The number of draft tokens became part of a step's output, where a scheduler may set it, in 0.24. Versions are told by
`vllm.__version__`, since the distribution is not always called vllm.
"""

from __future__ import annotations

import re

import structlog

from paceline import BackendError

OLDEST = (0, 24)
"""By inspection of the source: earlier versions have no `num_spec_tokens_to_schedule`."""

TESTED = ("0.29.0", "0.32.0")
"""Whole engines were run with these."""

PLACES = ("_update_after_schedule", "update_from_output", "schedule", "shutdown")
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
    found = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    missing = [name for name in PLACES if not callable(getattr(scheduler, name, None))]
    missing += [name for name in FIELDS if name not in getattr(output, "__dataclass_fields__", {})]
    works = f"versions from {'.'.join(map(str, OLDEST))} on have it; {' and '.join(TESTED)} were tested"
    if missing:
        raise BackendError(f"this vLLM, {version}, lacks what a policy needs ({', '.join(missing)}): {works}")
    if found < OLDEST:
        raise BackendError(f"this vLLM, {version}, is too old to choose gamma by step: {works}")
    if not any(version.partition("+")[0] == tested for tested in TESTED):
        log.info("vllm_untested", version=version, tested=", ".join(TESTED))
