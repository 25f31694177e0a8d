"""The kits that plugin authors test with, and paceline itself.

Names load on first use: the checks need hypothesis, which an installation that only generates text does without.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paceline.core.testing.backends import check_backend
    from paceline.core.testing.chance import outcomes
    from paceline.core.testing.doubles import (
        BREACHES,
        ChaoticPolicy,
        FixedCosts,
        LawlessPolicy,
        ScriptedPolicy,
    )
    from paceline.core.testing.playing import play
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
]

_HOMES = {
    "BREACHES": "doubles",
    "ChaoticPolicy": "doubles",
    "FixedCosts": "doubles",
    "LawlessPolicy": "doubles",
    "ScriptedPolicy": "doubles",
    "check_backend": "backends",
    "check_policy": "policies",
    "outcomes": "chance",
    "play": "playing",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
