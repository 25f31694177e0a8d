"""Policies that try out arms and keep to those that delivered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.policies.bandits.d_ucb import DUcbConfig
from paceline.policies.bandits.q_learning import QLearningConfig
from paceline.policies.bandits.tapout import TapOutConfig
from paceline.policies.bandits.ucb import UcbConfig

if TYPE_CHECKING:
    from paceline.core.config.blocks import PolicyConfig

CONFIGS: tuple[type[PolicyConfig], ...] = (UcbConfig, DUcbConfig, QLearningConfig, TapOutConfig)
