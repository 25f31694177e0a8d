"""Policies that steer gamma by the outcome of the last rounds, without a model of cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.policies.feedback.aimd import AimdConfig
from paceline.policies.feedback.ema_tier import EmaTierConfig
from paceline.policies.feedback.fsm import FsmConfig
from paceline.policies.feedback.gammatune import GammatuneConfig

if TYPE_CHECKING:
    from paceline.core.config.blocks import PolicyConfig

CONFIGS: tuple[type[PolicyConfig], ...] = (AimdConfig, GammatuneConfig, FsmConfig, EmaTierConfig)
