"""A comparison of policies on the same texts: the figures that every command shows, as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from paceline.core.errors import ConfigError
from paceline.lab.stats import Ratio, html_table, share, speedup, times

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from paceline.core.generation import Totals
    from paceline.lab.hindsight import BestStatic
    from paceline.lab.results import Clock, Measurement, Order, Start

ALL, VARYING, LOOPING = "all", "varying", "looping"
"""Groups beside the kinds: every text, those that neither loop nor repeat themselves, and the others."""

ORACLE = "oracle"


class Time(NamedTuple):
    """One policy on one text: the tokens delivered, and the seconds they took."""

    tokens: float
    seconds: float


Times = Mapping[str, Time]
"""By text."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Seconds a token, by what they went into; `loop` is what remains of the round."""

    draft: float
    verify: float
    score: float
    loop: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.draft + self.verify + self.score + self.loop


@dataclass(frozen=True, slots=True)
class Regret:
    """Seconds a token that one policy lost on a group of texts.

    Attributes:
        oracle_s: To the oracle.
        static_s: To the best static choice of each text; below 0 where that is beaten.
        dynamic_s: To the best static choice of each segment.
        over_tuned: Its speed over the static choice that was best on the other half of the texts.
        oracle_expected: The speed-up of an oracle that knows the probability of every token and not how it falls; that
            of the oracle where nothing was drawn.
        exact: Whether some choices reach the oracle's seconds, on every text.
    """

    oracle_s: float
    static_s: float
    dynamic_s: float
    over_tuned: Ratio | None
    oracle_expected: Ratio | None
    exact: bool


@dataclass(frozen=True, slots=True)
class Figures:
    """One policy on a group of texts, as far as it finished them. What cannot be told is None.

    Attributes:
        texts, tokens, seconds: How many, and their sums; of plain decoding, `plain_s` seconds.
        speedup: Over plain decoding.
        over_static: Over the best static choice in hindsight, chosen on all texts.
        captured: Share of the time between plain decoding and the oracle that is saved.
        captured_static: Likewise between the best static choice and the oracle.
        oracle: The speed-up of the oracle.
        accepted_tokens: Spec-Bench's mean accepted tokens: tokens delivered a round, 1 for plain decoding.
        spec_bench: Spec-Bench's speed-up: the mean over texts of tokens a second, over that of plain decoding.
        regret: What was lost, where that was asked for.
    """

    texts: int
    tokens: float
    seconds: float
    plain_s: float
    speedup: Ratio | None
    over_static: Ratio | None
    captured: Ratio | None
    captured_static: Ratio | None
    oracle: Ratio | None
    accepted_tokens: float | None
    spec_bench: float | None
    regret: Regret | None = None

    @property
    def tokens_per_second(self) -> float:
        """Over all texts of the group; 0 when no time passed."""
        return self.tokens / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Row:
    """One policy in a comparison.

    Attributes:
        policy: Its label.
        options: Its options, as JSON-able values; empty for a library's own decoding.
        groups, kinds: Its figures by group and by kind of text; see `Comparison`.
        totals: Sums over all its measurements.
        measurements: In the order they were taken.
    """

    policy: str
    options: Mapping[str, Any]
    groups: Mapping[str, Figures]
    kinds: Mapping[str, Figures] = field(repr=False)
    totals: Totals = field(repr=False)
    measurements: Sequence[Measurement] = field(repr=False)

    @property
    def static(self) -> bool:
        """True of a policy that plans the same draft and gamma in every round."""
        return is_static(self.options)

    @property
    def all(self) -> Figures:
        """The figures on all texts."""
        return self.groups[ALL]

    @property
    def varying(self) -> Figures | None:
        """The figures on the texts that vary; None where there are none."""
        return self.groups.get(VARYING)

    @property
    def acceptance(self) -> float | None:
        """Accepted over drafted tokens; None where nothing was drafted."""
        return self.totals.acceptance if self.totals.drafted else None

    @property
    def shares(self) -> Shares:
        """Seconds a token, by what they went into."""
        totals = self.totals
        draft, verify, score = (
            seconds / totals.emitted for seconds in (totals.draft_s, totals.verify_s, totals.score_s)
        )
        loop = max(0.0, totals.seconds / totals.emitted - draft - verify - score)
        return Shares(draft, verify, score, loop)

    @property
    def first_pass(self) -> list[Measurement]:
        """The measurements of the first pass, in the order the texts were decoded."""
        return [
            measurement for measurement in self.measurements if measurement.key == self.measurements[0].key
        ]


@dataclass(frozen=True, slots=True, repr=False)
class Comparison:
    """Policies on the same texts, in one setting.

    Attributes:
        clock, order, start, seeds, draws: The setting.
        plain: The label of plain decoding.
        rows: One for each policy, in the order of the results.
        groups: Names of texts, by group: all, and those that vary and those that do not where there are such.
        kinds: Likewise by kind of text; none where texts are spliced, since pairs of kinds are as many as texts.
        best_static: The best static choice in hindsight: of all that there are, where hindsight is at hand, else of
            those that were measured. None where nothing is known of static choices.
        times: By label and text; the best static choice and the oracle are among the labels.
    """

    clock: Clock
    order: Order
    start: Start
    seeds: Sequence[int]
    draws: Sequence[int | None]
    plain: str
    rows: Sequence[Row]
    groups: Mapping[str, Sequence[str]]
    kinds: Mapping[str, Sequence[str]]
    best_static: BestStatic | None
    times: Mapping[str, Times]

    def __repr__(self) -> str:
        best = self.ranked[0]
        return (
            f"<Comparison: {len(self.rows)} policies on {len(self.groups[ALL])} texts, {self.order}, {self.start}; the "
            f"fastest is {best.policy}, {times(best.all.speedup)} plain decoding>"
        )

    @property
    def ranked(self) -> list[Row]:
        """The rows, the fastest first."""
        return sorted(self.rows, key=lambda row: -row.all.tokens_per_second)

    def row(self, policy: str) -> Row:
        """Return the row of a policy.

        Raises:
            ConfigError: There is none.
        """
        for row in self.rows:
            if row.policy == policy:
                return row
        raise ConfigError(f"no row for {policy!r}; there are: {', '.join(row.policy for row in self.rows)}")

    def speedup(
        self, policy: str, over: str | None = None, *, texts: Iterable[str] | None = None
    ) -> Ratio | None:
        """Return how many times faster a policy is than another one, by default plain decoding.

        Args:
            policy: Its label; the best static choice's and `oracle` are known too.
            over: Likewise.
            texts: Those that count, if not all, as far as both finished them.
        """
        base = self.times[over or self.plain]
        return ratio(self.times[policy], base, base if texts is None else texts)

    def lost(self, policy: str) -> list[float]:
        """Return the seconds lost to the oracle, summed up text after text in the order of the first pass."""
        oracle = self.times[ORACLE]
        measured = next((row for row in self.rows if row.policy == policy), None)
        if measured is not None:
            seconds = [(measurement.text, measurement.seconds) for measurement in measured.first_pass]
        else:
            order = self.row(self.plain).first_pass
            seconds = [
                (measurement.text, self.times[policy][measurement.text].seconds) for measurement in order
            ]
        return list(accumulate(each - oracle[text].seconds for text, each in seconds))

    def _repr_html_(self) -> str:
        headings = ("policy", "speed-up", "over best static", "captured", "accepted", "gamma")
        rows = [
            (
                row.policy,
                *("" if value is None else str(value) for value in _shown(row.all)),
                share(row.acceptance),
                f"{row.totals.gamma:.1f}",
            )
            for row in self.ranked
        ]
        return html_table(headings, rows)


def _shown(figures: Figures) -> tuple[Ratio | None, ...]:
    return figures.speedup, figures.over_static, figures.captured


def is_static(options: Mapping[str, Any]) -> bool:
    """Tell whether a policy plans the same draft and gamma in every round."""
    return options.get("name") == "static"


def ratio(times: Times, base: Times, texts: Iterable[str]) -> Ratio | None:
    """Return how many times faster one is than the other on those of the texts that both finished."""
    shared = [text for text in texts if text in times and text in base]
    if not shared:
        return None
    return speedup(*amounts(times, shared), *amounts(base, shared))


def amounts(times: Times, texts: Iterable[str]) -> tuple[list[float], list[float]]:
    """Return the tokens and the seconds of some texts."""
    listed = [times[text] for text in texts]
    return [time.tokens for time in listed], [time.seconds for time in listed]
