"""The kits that plugin authors test with, and paceline itself.

The checks load on first use: they need hypothesis, the extra `testing`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.core.lazy import lazy
from paceline.core.rejection_sampling import probs_of, process_logits
from paceline.core.testing.doubles import (
    BREACHES,
    ChaoticPolicy,
    FixedCosts,
    LawlessPolicy,
    ScriptedPolicy,
)
from paceline.core.testing.enumeration import outcomes
from paceline.core.testing.playing import play

if TYPE_CHECKING:
    from paceline.core.testing.backends import check_backend
    from paceline.core.testing.policies import check_policy

__all__ = [
    "BREACHES",
    "ChaoticPolicy",
    "FixedCosts",
    "LawlessPolicy",
    "ScriptedPolicy",
    "check_backend",
    "check_policy",
    "outcomes",
    "play",
    "probs_of",
    "process_logits",
]

__getattr__, __dir__ = lazy(__name__)
