"""Programs from queries: a grammar drafts, a small model verifies, and each teaches the other."""

from __future__ import annotations

from paceline import BackendConfig, hookimpl
from paceline_colead.draft import NluDraft, NluDraftConfig

__all__ = ["NluDraft", "NluDraftConfig", "register_backends"]

PACELINE_INTERFACE = 1


@hookimpl
def register_backends() -> list[type[BackendConfig]]:
    """Name the draft."""
    return [NluDraftConfig]
