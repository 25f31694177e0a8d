"""`load`: from a run file to a decoder in one call."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paceline.core.config.load import load_config

if TYPE_CHECKING:
    from paceline.core.decoder import SpeculativeDecoder


def load(source: Path | str | Mapping[str, Any] | None = None, **overrides: object) -> SpeculativeDecoder:
    """Read a run, load its models and return a decoder that is ready to generate.

    Args:
        source: The path of a YAML file, a mapping of the same form, or None for the defaults: the embedded pair and
            the `online` policy.
        **overrides: Parts that replace those of `source`, such as `policy="static"` or `trace="today.jsonl"`.

    Raises:
        ConfigError: The run is not valid; the message lists every problem.
        BackendError: A model cannot be loaded, or a draft does not fit the target.
        CapabilityError: The policy needs what the engine cannot do.
    """
    return load_config(source, overrides=overrides).build()
