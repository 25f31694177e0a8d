"""All pictures of a report, in the order of the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.lab.report.pictures.costs import costs
from paceline.lab.report.pictures.kinds import kinds
from paceline.lab.report.pictures.orders import orders
from paceline.lab.report.pictures.positions import positions
from paceline.lab.report.pictures.ranking import ranking
from paceline.lab.report.pictures.regret import regret
from paceline.lab.report.pictures.shares import shares
from paceline.lab.report.pictures.timeline import timeline

if TYPE_CHECKING:
    from paceline.lab.report.drawing import Drawing
    from paceline.lab.report.findings import Findings


def pictures(findings: Findings) -> dict[str, Drawing]:
    """Draw what the findings have data for, by name."""
    drawn = (draw(findings) for draw in (ranking, timeline, regret, positions, shares, kinds, orders, costs))
    return {one.name: one for one in drawn if one is not None}
