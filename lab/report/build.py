"""A report, worked out from results and what is known of their recording: all that the page, pictures and text show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paceline.core.environment import require
from paceline.core.errors import ConfigError
from paceline.core.files import write_text
from paceline.core.plugins.catalogue import Catalogue
from paceline.lab.comparison import by_setting, compare
from paceline.lab.figures import Comparison, Row
from paceline.lab.report.timelines import Timeline, timelines
from paceline.lab.validation import validate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paceline.lab.hindsight import Hindsight
    from paceline.lab.recording.latency import LatencyProfile
    from paceline.lab.recording.model import Recording
    from paceline.lab.results import Results
    from paceline.lab.stats import Ratio
    from paceline.lab.validation import Prediction

RANKED_BY = ("shuffled", "recorded", "by-kind", "switching")
"""The setting of the ranking is the first of these orders that was replayed, warm where it was."""

STATIC_SHOWN = 3
"""The best of the static choices; the table has all."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Time lost against the oracle by one policy, summed up text after text.

    Attributes:
        label: The policy.
        tokens: Delivered so far, at the end of each text; begins with 0.
        lost: Seconds lost so far, in plain steps; begins with 0.
    """

    label: str
    tokens: Sequence[int]
    lost: Sequence[float]


@dataclass(frozen=True, slots=True)
class Positions:
    """Acceptance of the k-th token of a proposal once those before it were accepted; counts by position."""

    draft: str
    reached: Sequence[int]
    agreed: Sequence[int]


@dataclass(frozen=True, slots=True)
class Prices:
    """Seconds of the pieces of a round: verification by block length, drafting by draft and gamma, and the rest."""

    verify: Mapping[int, float]
    draft: Mapping[str, Mapping[int, float]]
    catch_up: Mapping[str, Mapping[int, float]]
    context: int
    context_s: float
    overhead_s: float


@dataclass(frozen=True, slots=True, repr=False)
class Report:
    """Everything a report shows.

    Attributes:
        comparison: Of the setting that the ranking is about.
        settings: The comparisons of all settings.
        timelines: Rounds of a few texts, under `timeline_policy` and under the oracle.
        curves: Time lost against the oracle, by policy.
        positions: Acceptance by place, of each draft on all texts; without a recording, that of one policy's rounds.
        checks: What replay predicts of the policies that were really run, against what the clock said.
        prices: What the pieces of a round take.
        left_out: Policies that could not be tried, with the reason.
        machine: Environment and versions, flattened for a table.
        source: Where the numbers come from: recording, hash, command.
        made_up: Whether the recording comes from a generator.
        sampled: Whether tokens were drawn.
    """

    comparison: Comparison
    settings: Sequence[Comparison] = ()
    timelines: Sequence[Timeline] = ()
    timeline_policy: str = ""
    curves: Sequence[Curve] = ()
    positions: Sequence[Positions] = ()
    checks: Sequence[Prediction] = ()
    prices: Prices | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, str] = field(default_factory=dict)
    source: Mapping[str, str] = field(default_factory=dict)
    made_up: bool = False
    sampled: bool = False

    def write(self, path: Path | str) -> None:
        """Write the report as one HTML page that needs nothing else.

        Raises:
            PacelineError: matplotlib or jinja2 is not installed.
            ConfigError: The path does not allow it.
        """
        require("matplotlib", "jinja2")
        from paceline.lab.report.page import page  # noqa: PLC0415 - optional
        from paceline.lab.report.plots import pictures  # noqa: PLC0415

        write_text(Path(path), page(self, pictures(self)))

    def __repr__(self) -> str:
        return f"<Report: {self.comparison!r}>"

    def _repr_html_(self) -> str:
        return self.comparison._repr_html_()

    @property
    def rows(self) -> list[Row]:
        """The rows of the ranking, the fastest first."""
        return self.comparison.ranked

    @property
    def shown(self) -> list[Row]:
        """The rows of pictures, where all would be too many: all that adapt, the best static ones, plain decoding."""
        static = [row.policy for row in self.rows if row.static and row is not self.plain]
        kept = {self.plain.policy, *static[:STATIC_SHOWN]}
        return [row for row in self.rows if not row.static or row.policy in kept]

    @property
    def plain(self) -> Row:
        """Plain decoding."""
        return self.comparison.row(self.comparison.plain)

    @property
    def best_static(self) -> str | None:
        """The label of the best static choice in hindsight, replayed or not; None without a recording."""
        best = self.comparison.best_static
        return best.label if best is not None else None

    @property
    def static_speedup(self) -> Ratio | None:
        """The speed-up of the best static choice over plain decoding."""
        return self.comparison.speedup(self.best_static) if self.best_static is not None else None

    @property
    def oracle(self) -> float | None:
        """The speed-up of the oracle over plain decoding; None without a recording."""
        speedup = self.plain.all.oracle
        return speedup.value if speedup is not None else None

    @property
    def texts(self) -> int:
        """Number of texts that were decoded."""
        return self.plain.all.texts

    @property
    def varying(self) -> int:
        """Number of them that vary."""
        return self.plain.varying.texts if self.plain.varying is not None else 0

    @property
    def tokens(self) -> int:
        """Number of their tokens."""
        return round(self.plain.all.tokens)

    @property
    def worst_check(self) -> Prediction | None:
        """The check that misses by most, if any ran."""
        return max(self.checks, key=lambda check: abs(check.error), default=None)


def main_setting(results: Results) -> Results:
    """Return the results of the setting that rankings are about.

    Raises:
        ConfigError: There are none.
    """
    if not results.passes:
        raise ConfigError(
            "the replay holds no pass, so there is nothing to report; run `paceline replay` again"
        )

    def rank(setting: Results) -> tuple[int, bool]:
        key = next(iter(setting.passes))
        return RANKED_BY.index(key.order), key.start != "warm"

    return min(by_setting(results), key=rank)


def is_recorded(results: Results) -> bool:
    """Tell whether the texts are those of the recording: not spliced, and in the draw that was recorded."""
    return all(key.draw is None and key.order != "switching" for key in results.passes)


def build_report(
    results: Results,
    recording: Recording | None = None,
    hindsight: Hindsight | None = None,
    *,
    source: Mapping[str, str] | None = None,
) -> Report:
    """Work out everything that a report shows.

    Args:
        results: Replays of the recording.
        recording: What was replayed; without it, what it alone can tell is left out.
        hindsight: Of the recording.
        source: Where the numbers come from, for the page.

    Raises:
        ConfigError: There are no results, or none of plain decoding.
    """
    main = main_setting(results)
    oracle = hindsight is not None and is_recorded(main)
    comparison = compare(main, hindsight=hindsight, oracle=oracle)
    follow = next((row for row in comparison.ranked if not row.static), comparison.ranked[0])
    every = [
        comparison
        if setting.passes.keys() == main.passes.keys()
        else compare(setting, hindsight=hindsight, oracle=False)
        for setting in by_setting(results)
    ]
    known: dict[str, Any] = {}
    if recording is not None and hindsight is not None:
        known = {
            "checks": validate(recording, Catalogue.load()),
            "prices": _prices(recording.header.costs),
            "machine": dict(_flat(recording.header.run)),
            "made_up": recording.header.made_up,
            "sampled": recording.header.mode == "sampled",
        }
        if oracle:
            known["timelines"] = timelines(recording, hindsight, comparison, follow)
    return Report(
        comparison,
        every,
        timeline_policy=follow.policy,
        curves=_curves(comparison) if oracle else (),
        positions=_positions(recording) if recording is not None else [_positions_of(follow)],
        left_out=results.left_out,
        source=source or {},
        **known,
    )


def _curves(comparison: Comparison) -> list[Curve]:
    plain = comparison.row(comparison.plain)
    step_s = plain.all.plain_s / plain.all.tokens
    labels = [row.policy for row in comparison.rows]
    best = comparison.best_static
    if best is not None and best.label not in labels:
        labels.append(best.label)
    measured = {row.policy: row.first_pass for row in comparison.rows}
    return [
        Curve(
            label,
            [0, *accumulate(measurement.tokens for measurement in measured.get(label, plain.first_pass))],
            [0.0, *(seconds / step_s for seconds in comparison.lost(label))],
        )
        for label in labels
    ]


def _positions_of(row: Row) -> Positions:
    return Positions(row.policy, row.totals.reached, row.totals.agreed)


def _positions(recording: Recording) -> list[Positions]:
    """Count, over every start of every text, how often drafts are accepted at each place."""
    longest, drafts = recording.header.longest, recording.header.drafts
    reached = {name: np.zeros(longest, dtype=np.int64) for name in drafts}
    agreed = {name: np.zeros(longest, dtype=np.int64) for name in drafts}
    for text in recording:
        left = np.arange(len(text.tokens), 0, -1)
        for name, starts in text.drafts.items():
            for place in range(longest):
                # A text that ends first says nothing about the places beyond.
                tried = (starts.offered > place) & (starts.agreed >= place) & (left > place)
                reached[name][place] += int(tried.sum())
                agreed[name][place] += int((tried & (starts.agreed > place)).sum())
    return [Positions(name, reached[name].tolist(), agreed[name].tolist()) for name in drafts]


def _prices(profile: LatencyProfile) -> Prices:
    return Prices(
        verify=dict(sorted(profile.verify.items())),
        draft={name: dict(sorted(times.tokens.items())) for name, times in profile.drafts.items()},
        catch_up={name: dict(sorted(times.catch_up.items())) for name, times in profile.drafts.items()},
        context=profile.context,
        context_s=profile.context_s,
        overhead_s=profile.overhead_s,
    )


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Yield every value under its dotted key, as text; what is empty is left out."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        elif isinstance(value, list | tuple):
            if value:
                yield f"{before}{key}", ", ".join(map(str, value))
        elif value is not None and value != "":
            yield f"{before}{key}", str(value)
