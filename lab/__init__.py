"""Policies measured side by side: recordings, replay, oracles, comparisons, reports.

These are the public names; everything else in here may change between minor versions. They load on first use: most need
numpy, and pictures need matplotlib, which come with the extra `lab`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.core.lazy import lazy

if TYPE_CHECKING:
    from paceline.lab.comparison import by_setting, compare
    from paceline.lab.figures import Comparison, Figures, Regret, Row, Shares
    from paceline.lab.hindsight import BestStatic, Hindsight
    from paceline.lab.recording.model import Recording
    from paceline.lab.recording.reader import read_recording
    from paceline.lab.replay.run import replay_policies
    from paceline.lab.report.build import Report, build_report
    from paceline.lab.report.plots import draw
    from paceline.lab.results import Key, Measurement, ProcessorUse, Results
    from paceline.lab.stats import Ratio
    from paceline.lab.workloads.synthetic import made_up_recording

__all__ = [
    "BestStatic",
    "Comparison",
    "Figures",
    "Hindsight",
    "Key",
    "Measurement",
    "ProcessorUse",
    "Ratio",
    "Recording",
    "Regret",
    "Report",
    "Results",
    "Row",
    "Shares",
    "build_report",
    "by_setting",
    "compare",
    "draw",
    "made_up_recording",
    "read_recording",
    "replay_policies",
]

__getattr__, __dir__ = lazy(__name__)
