"""Policies that decide beforehand and learn nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.policies.fixed.schedule import ScheduleConfig
from paceline.policies.fixed.static import StaticConfig

if TYPE_CHECKING:
    from paceline.core.config.blocks import PolicyConfig

CONFIGS: tuple[type[PolicyConfig], ...] = (StaticConfig, ScheduleConfig)
