"""Policies that guard or correct another policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.policies.wrappers.gate import GateConfig
from paceline.policies.wrappers.restart_cost import RestartCostConfig

if TYPE_CHECKING:
    from paceline.core.config.blocks import PolicyConfig

CONFIGS: tuple[type[PolicyConfig], ...] = (GateConfig, RestartCostConfig)
