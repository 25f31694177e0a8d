"""The policies that come with paceline, one a file; registered through the same hook as everybody else's.

Each family is a folder whose `CONFIGS` names its policies. What several of them share lies beside the folders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.core.plugins.hooks import impl
from paceline.policies import bandits, drafts, estimate, feedback, fixed, signals, wrappers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from paceline.core.config.blocks import PolicyConfig

FAMILIES = (fixed, estimate, feedback, signals, bandits, drafts, wrappers)


@impl
def register_policies() -> Iterable[type[PolicyConfig]]:
    """Name the configurations of the built-in policies."""
    return [config for family in FAMILIES for config in family.CONFIGS]
