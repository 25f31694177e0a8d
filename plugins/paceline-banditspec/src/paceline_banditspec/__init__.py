"""UCBSpec and EXP3Spec of "BanditSpec: Adaptive Speculative Decoding via Bandit Algorithms" (arXiv 2505.15141)."""

from __future__ import annotations

from paceline import PolicyConfig, hookimpl
from paceline_banditspec.exp3spec import Exp3SpecConfig, Exp3SpecPolicy
from paceline_banditspec.ucbspec import UcbSpecConfig, UcbSpecPolicy

__all__ = ["Exp3SpecConfig", "Exp3SpecPolicy", "UcbSpecConfig", "UcbSpecPolicy", "register_policies"]

PACELINE_INTERFACE = 1


@hookimpl
def register_policies() -> list[type[PolicyConfig]]:
    """Name the two policies of the paper."""
    return [UcbSpecConfig, Exp3SpecConfig]
