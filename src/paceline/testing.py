"""The kits that plugin authors test with, and paceline itself; their checks need hypothesis, the extra `testing`.

Names load on first use, so that importing this module needs neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from paceline.core import testing as _kits

if TYPE_CHECKING:
    from paceline.core.testing import (
        BREACHES,
        ChaoticPolicy,
        FixedCosts,
        LawlessPolicy,
        ScriptedPolicy,
        check_backend,
        check_policy,
        outcomes,
        play,
    )

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


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_kits, name)
