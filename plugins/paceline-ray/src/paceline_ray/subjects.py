"""What a replica's statistics are about, so that only like is added to like.

Whether a draft's tokens are accepted is a matter of the models and the same everywhere, so it is pooled over all
hardware. Seconds are not: statistics that hold times are pooled among replicas of the same hardware, versions and
number of devices alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from paceline import Identified, RunConfig, SpeculativeDecoder, cpu_model
from paceline_ray.messages import Subject

TIMED_BY = ("paceline", "torch", "transformers")
"""The packages whose versions may change how long a round takes."""


def subject(policy: str, models: Mapping[str, Any], place: Mapping[str, Any] | None) -> Subject:
    """Return what the statistics of a policy are about.

    Args:
        policy: The policy's name.
        models: Which target and drafts; JSON-able.
        place: Hardware, versions, number of devices, JSON-able; None where the statistics hold no times.
    """
    about: dict[str, Any] = {"policy": policy, **models}
    if place is not None:
        about["place"] = dict(place)
    digest = hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()
    return Subject(f"{policy}-{digest[:16]}", about)


def models_of(config: RunConfig, decoder: SpeculativeDecoder) -> dict[str, Any]:
    """Return which target and drafts a decoder has: what they say of themselves, or else their blocks of the run."""

    def identity(model: object, block: Any) -> str:
        return model.identity if isinstance(model, Identified) else json.dumps(block.model_dump(mode="json"))

    return {
        "target": identity(decoder.target, config.target),
        "drafts": [[name, identity(one, config.drafts[name])] for name, one in decoder.drafts.items()],
    }


def this_place() -> dict[str, Any]:
    """Return what a round's time depends on besides the models."""
    return {"processor": cpu_model(), "versions": {name: _version(name) for name in TIMED_BY}}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
