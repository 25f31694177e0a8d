"""Serving: one decoder for many requests at once, and OpenAI's HTTP interface for it.

These are the public names. What speaks HTTP loads on first use: it needs Starlette, the extra `serve`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.core.lazy import lazy
from paceline.serving.checks import check_port, is_cross_site

if TYPE_CHECKING:
    from paceline.serving.metrics import Metrics
    from paceline.serving.openai.admission import Admission
    from paceline.serving.openai.app import ServedModel, create_app
    from paceline.serving.openai.errors import ApiError
    from paceline.serving.running import first_signal

__all__ = [
    "Admission",
    "ApiError",
    "Metrics",
    "ServedModel",
    "check_port",
    "create_app",
    "first_signal",
    "is_cross_site",
]

__getattr__, __dir__ = lazy(__name__)
