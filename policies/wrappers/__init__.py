"""Policies that guard or correct another policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.policies.wrappers.gate import GateConfig

if TYPE_CHECKING:
    from paceline.core.config.blocks import PolicyConfig

CONFIGS: tuple[type[PolicyConfig], ...] = (GateConfig,)
