"""Policies that choose the draft, and leave its length to others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.policies.drafts.hedge import HedgeConfig
from paceline.policies.drafts.linear_select import LinearSelectConfig
from paceline.policies.drafts.metasd import MetaSDConfig

if TYPE_CHECKING:
    from paceline.core.config.blocks import PolicyConfig

CONFIGS: tuple[type[PolicyConfig], ...] = (LinearSelectConfig, HedgeConfig, MetaSDConfig)
