"""Policies that estimate how far a draft can be trusted, and weigh it against measured costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.policies.estimate.auto import AutoConfig
from paceline.policies.estimate.ev_stop import EvStopConfig
from paceline.policies.estimate.online import OnlineConfig
from paceline.policies.estimate.survival import SurvivalConfig
from paceline.policies.estimate.thompson import ThompsonConfig

if TYPE_CHECKING:
    from paceline.core.config.blocks import PolicyConfig

CONFIGS: tuple[type[PolicyConfig], ...] = (
    OnlineConfig,
    ThompsonConfig,
    SurvivalConfig,
    EvStopConfig,
    AutoConfig,
)
