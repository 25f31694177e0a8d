"""Which policies pictures show, where all would be too many."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paceline.lab.report.findings import Findings, Row

FIXED_SHOWN = 3
"""The best of the static gammas; the table has all."""


def shown(findings: Findings) -> list[Row]:
    """Return the rows of the picture: all that adapt, the best few static gammas, and plain decoding."""
    fixed = [row for row in findings.rows if row.fixed and row.label != findings.plain]
    kept = {row.label for row in fixed[:FIXED_SHOWN]}
    return [row for row in findings.rows if not row.fixed or row.label in kept or row.label == findings.plain]
