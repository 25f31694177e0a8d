"""From a replay, and what else is known of its recording, to the findings that a report shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING

from paceline.core.errors import ConfigError
from paceline.lab.report.estimates import Times
from paceline.lab.report.findings import Curve, Findings, Kind, Row, Setting
from paceline.lab.report.tally import fields

if TYPE_CHECKING:
    from paceline.lab.intervals import Ratio
    from paceline.lab.regret.hindsight import BestStatic, Hindsight
    from paceline.lab.replay.results import Outcome, Replay
    from paceline.lab.report.findings import Check, Positions, Prices, Timeline
    from paceline.lab.report.tally import Field, Player

ORACLE = "oracle"
RANKED_BY = ("shuffled", "recorded", "by-kind", "switching")
"""The setting of the ranking is the first of these orders that was replayed, warm where it was."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known besides the replay; all of it may be missing.

    Attributes:
        oracle: Seconds of the clairvoyant oracle, by text.
        statics: What every static choice takes on a text.
        timelines: Makes the rounds of the texts to be shown, from the policy's label.
        positions: Acceptance by place, of each draft on all texts.
        checks, prices, machine, source, made_up, sampled: As in `Findings`.
    """

    oracle: Mapping[str, float] = field(default_factory=dict)
    statics: Hindsight | None = None
    timelines: Callable[[Field, str, Mapping[str, float]], Sequence[Timeline]] | None = None
    positions: Sequence[Positions] = ()
    checks: Sequence[Check] = ()
    prices: Prices | None = None
    machine: Mapping[str, str] = field(default_factory=dict)
    source: Mapping[str, str] = field(default_factory=dict)
    made_up: bool = False
    sampled: bool = False


def main_field(replay: Replay) -> Field:
    """Return the setting that rankings are about.

    Raises:
        ConfigError: The replay is empty.
    """
    listed = fields(replay)
    if not listed:
        raise ConfigError(
            "the replay holds no pass, so there is nothing to report; run `paceline replay` again"
        )
    return min(listed, key=lambda one: (RANKED_BY.index(one.order), one.start != "warm"))


def redrawn(replay: Replay) -> bool:
    """Tell whether what is accepted was drawn anew, so that passes are not of the recording's own draw."""
    return any(one.draw is not None for one in replay.passes)


def gather(replay: Replay, known: Known | None = None) -> Findings:
    """Work out everything that a report shows.

    Raises:
        ConfigError: The replay is empty, or lacks plain decoding.
    """
    known = known or Known()
    listed = fields(replay)
    if not any(one.players for one in listed):
        raise ConfigError(
            "the replay holds no pass, so there is nothing to report; run `paceline replay` again"
        )
    main = min(listed, key=lambda one: (RANKED_BY.index(one.order), one.start != "warm"))
    plain, best_static = main.plain, _best_static(main, known)
    # Spliced texts, and agreement drawn anew, have other optima than the texts of the recording.
    own = main.plain.seconds.keys() <= known.oracle.keys() and not redrawn(replay)
    oracle = known.oracle if own else {}
    rows = _rows(main, oracle, best_static)
    follow = next((row.label for row in rows if not row.fixed), rows[0].label)
    timelines = known.timelines(main, follow, oracle) if known.timelines and oracle else ()
    texts = _times(main, oracle, best_static)
    return Findings(
        rows=rows,
        plain=plain.label,
        best_static=best_static.label if best_static is not None else None,
        best=rows[0].label,
        oracle=texts.speedup(ORACLE, plain.label).value if oracle else None,
        setting=_setting(main, best_static),
        texts=len(plain.outcomes),
        varying=sum(one.varies for one in plain.outcomes),
        tokens=sum(one.tokens for one in plain.outcomes),
        timelines=timelines,
        timeline_policy=follow,
        curves=_curves(main, oracle, best_static),
        positions=known.positions or [main.players[follow].positions],
        kinds=_kinds(main, oracle, best_static),
        settings=[_setting(one, _best_static(one, known)) for one in listed],
        checks=known.checks,
        prices=known.prices,
        left_out=replay.left_out,
        machine=known.machine,
        source=known.source,
        made_up=known.made_up,
        sampled=known.sampled,
        static_speedup=texts.speedup(best_static.label, plain.label) if best_static is not None else None,
    )


def _best_static(one: Field, known: Known) -> BestStatic | None:
    return known.statics.best(one.texts, one.draws) if known.statics is not None else None


def _times(
    main: Field,
    oracle: Mapping[str, float],
    best: BestStatic | None = None,
    keep: Callable[[Outcome], bool] | None = None,
) -> Times:
    seconds = {label: one.seconds for label, one in main.players.items()}
    if best is not None:
        seconds = {best.label: best.seconds, **seconds}
    if oracle:
        seconds[ORACLE] = oracle
    texts = [one.text for one in main.plain.outcomes if keep is None or keep(one)]
    return Times(seconds, texts)


def _rows(main: Field, oracle: Mapping[str, float], best: BestStatic | None) -> list[Row]:
    plain, base = main.plain.label, best.label if best is not None else None
    everything = _times(main, oracle, best)
    some = any(one.varies for one in main.plain.outcomes)
    varying = _times(main, oracle, best, lambda one: one.varies) if some else None

    def captured(times: Times | None, label: str, start: str | None) -> Ratio | None:
        return (
            times.captured(label, start, ORACLE)
            if times is not None and start is not None and oracle
            else None
        )

    def row(one: Player) -> Row:
        drafted = one.total("drafted")
        return Row(
            label=one.label,
            policy=one.policy,
            fixed=one.fixed,
            speedup=everything.speedup(one.label, plain),
            over_static=None if base in {None, one.label} else everything.speedup(one.label, str(base)),
            varying=varying.speedup(one.label, plain) if varying is not None else None,
            captured=captured(everything, one.label, plain),
            captured_static=captured(everything, one.label, base),
            captured_varying=captured(varying, one.label, plain),
            acceptance=one.total("accepted") / drafted if drafted else None,
            per_round=one.total("tokens") / one.total("rounds"),
            gamma=one.gamma,
            shares=one.shares,
        )

    return sorted((row(one) for one in main.players.values()), key=lambda one: -one.speedup.value)


def _curves(main: Field, oracle: Mapping[str, float], best: BestStatic | None) -> list[Curve]:
    if not oracle:
        return []
    plain = main.plain
    step_s = plain.total("seconds") / plain.total("tokens")

    def curve(label: str, outcomes: Sequence[Outcome], seconds: Sequence[float]) -> Curve:
        lost = [(each - oracle[one.text]) / step_s for one, each in zip(outcomes, seconds, strict=True)]
        return Curve(label, [0, *accumulate(one.tokens for one in outcomes)], [0.0, *accumulate(lost)])

    curves = [
        curve(one.label, one.outcomes, [outcome.seconds for outcome in one.outcomes])
        for one in main.players.values()
    ]
    if best is not None and best.label not in main.players:
        curves.append(curve(best.label, plain.outcomes, [best.seconds[text] for text in main.texts]))
    return curves


def _kinds(main: Field, oracle: Mapping[str, float], best: BestStatic | None) -> list[Kind]:
    plain = main.plain
    found = []
    for kind in dict.fromkeys(one.kind for one in plain.outcomes):
        texts = [one for one in plain.outcomes if one.kind == kind]
        times = _times(main, oracle, best, partial(_is_of, kind))
        tokens = {one.text: one.tokens for one in texts}
        rates = {
            label: sum(count / one.seconds[text] for text, count in tokens.items()) / len(tokens)
            for label, one in main.players.items()
        }
        found.append(
            Kind(
                kind=kind,
                texts=len(texts),
                tokens=sum(tokens.values()),
                speedups={label: times.speedup(label, plain.label) for label in main.players},
                best_static=times.speedup(best.label, plain.label) if best is not None else None,
                accepted_tokens={label: _per_round(one, kind) for label, one in main.players.items()},
                spec_bench={label: rate / rates[plain.label] for label, rate in rates.items()},
                oracle=times.speedup(ORACLE, plain.label).value if oracle else None,
            )
        )
    return found


def _is_of(kind: str, one: Outcome) -> bool:
    return one.kind == kind


def _per_round(player: Player, kind: str) -> float:
    some = [one for one in player.every if one.kind == kind]
    return sum(one.tokens for one in some) / sum(one.rounds for one in some)


def _setting(one: Field, best: BestStatic | None) -> Setting:
    times = _times(one, {})
    return Setting(
        one.order,
        one.start,
        one.seeds,
        {label: times.speedup(label, one.plain.label) for label in one.players},
        best.label if best is not None else None,
    )
