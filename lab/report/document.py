"""The report as JSON-able values, for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from paceline.lab.report.words import verdict, warnings

if TYPE_CHECKING:
    from paceline.lab.report.findings import Findings


def document(findings: Findings) -> dict[str, Any]:
    """Return everything that the page shows."""
    return {
        "verdict": " ".join(verdict(findings)),
        "warnings": [one.text for one in warnings(findings)],
        **asdict(findings),
        "validation_error": findings.worst_check.error if findings.worst_check is not None else None,
    }
