"""The part that policies share which look at no signal and ask nothing of the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.core.records import Requirements

if TYPE_CHECKING:
    from paceline.core.records import Signal, TokenSignals


class NoSignalPolicy:
    """Drafts what was planned; subclasses plan, observe, and keep their state."""

    needs: frozenset[Signal] = frozenset()
    requires = Requirements()

    def keep_drafting(self, signals: TokenSignals) -> bool:
        """Never stop early."""
        return True
