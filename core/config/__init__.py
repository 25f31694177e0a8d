"""Configuration: one YAML file or mapping, validated into a run that can be built."""

from paceline.core.config.blocks import BackendConfig, PolicyConfig
from paceline.core.config.load import load_config, parse_override
from paceline.core.config.resolve import AnyBackend, AnyPolicy
from paceline.core.config.run import GenerationConfig, RunConfig
from paceline.core.config.schema import json_schema

__all__ = [
    "AnyBackend",
    "AnyPolicy",
    "BackendConfig",
    "GenerationConfig",
    "PolicyConfig",
    "RunConfig",
    "json_schema",
    "load_config",
    "parse_override",
]
