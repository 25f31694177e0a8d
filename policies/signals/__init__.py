"""Policies that stop drafting by what the draft says of each token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.policies.signals.adaedl import AdaEdlConfig
from paceline.policies.signals.cached_fsm import CachedFsmConfig
from paceline.policies.signals.confidence import ConfidenceConfig
from paceline.policies.signals.svip import SvipConfig

if TYPE_CHECKING:
    from paceline.core.config.blocks import PolicyConfig

CONFIGS: tuple[type[PolicyConfig], ...] = (
    ConfidenceConfig,
    SvipConfig,
    AdaEdlConfig,
    CachedFsmConfig,
)
