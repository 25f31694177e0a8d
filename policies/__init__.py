"""The policies that come with paceline, one a file; registered through the same hook as everybody else's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.core.plugins.hooks import impl
from paceline.policies.online import OnlineConfig
from paceline.policies.static import StaticConfig
from paceline.policies.thompson import ThompsonConfig

if TYPE_CHECKING:
    from collections.abc import Iterable

    from paceline.core.config.blocks import PolicyConfig


@impl
def register_policies() -> Iterable[type[PolicyConfig]]:
    """Name the configurations of the built-in policies."""
    return (StaticConfig, OnlineConfig, ThompsonConfig)
