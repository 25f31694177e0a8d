"""A report in words, as one HTML page that needs nothing else (no network, no script, no fonts), and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from paceline.lab.report.drawing import inline, variables
from paceline.lab.stats import FEWEST, TOO_FEW, interval, share, share_interval, times
from paceline.lab.validation import LARGEST_MISS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from paceline.lab.figures import Comparison, Row
    from paceline.lab.report.build import Report
    from paceline.lab.report.drawing import Drawing
    from paceline.lab.stats import Ratio

PACKAGE = "paceline.lab.report"
READ = {
    "ranking": (
        "A mark is how many times faster than plain decoding a policy is over all texts; the line through it "
        "is a 90% interval over the texts. Filled circles adapt, hollow squares "
        "plan the same gamma in every round, and the line on the right is what nobody can beat."
    ),
    "timeline": (
        "A block is a round: as wide as the tokens it delivers, as high as the gamma that was planned, and "
        "filled as far as the draft was accepted. Faint tops are drafts in vain; many narrow blocks where the"
        " oracle has one wide block are chances missed."
    ),
    "regret": (
        "A curve climbs by the time that a policy loses against the oracle on each text, in plain steps; grey"
        " ones are the policies that are not named. One that flattens has learnt; one that keeps its slope "
        "loses the same on every text."
    ),
    "positions": (
        "A dot is the share of draft tokens accepted at that place, of those whose places before were all "
        "accepted. Bars count the cases it rests on, and hollow dots have fewer than thirty."
    ),
    "shares": (
        "A bar is the time that a token takes, split into what a round spends it on; plain decoding has "
        "length one. Shorter is faster, and a long first part means that drafting, not verifying, is what to "
        "save."
    ),
    "kinds": (
        "Each row is a kind of text, with the number of texts in brackets, and each mark a policy's speed-up "
        "on it. The wider the way from the best static gamma to the oracle, the more there is to gain by "
        "adapting."
    ),
    "orders": (
        "Marks of one row are the same policy on the same texts: in another order, or cold, which is starting"
        " afresh with each text. Marks far apart mean that what it learnt from earlier texts matters."
    ),
    "costs": (
        "Lines are the milliseconds that a block takes to verify and a proposal to draft, on the machine of "
        "the recording. The flatter the first and the lower the others, the further ahead a draft may run."
    ),
}
"""By picture, two sentences."""


def _between(estimate: Ratio | None) -> str:
    inside = interval(estimate)
    return f" (90% interval {inside})" if inside else ""


@dataclass(frozen=True, slots=True)
class Warned:
    """Something a reader must know before believing the result; grave when the result may be wrong."""

    text: str
    grave: bool = False


def verdict(report: Report) -> list[str]:
    """Return the result: one sentence first, and then what puts it into proportion."""
    best = report.rows[0]
    where = f"On {report.texts} texts of {report.tokens:,} tokens"
    adaptive = next((row for row in report.rows if not row.static), None)
    if best.policy == report.plain.policy:
        second = next((row for row in report.rows if row.policy != report.plain.policy), None)
        closest = [f"{second.policy} comes closest, at {times(second.all.speedup)}."] if second else []
        return [f"{where}, nothing is faster than plain decoding.", *closest]
    lead = f"{where}, {best.policy} is fastest: {times(best.all.speedup)} plain decoding{_between(best.all.speedup)}."
    rest = []
    if best.static:
        rest.append("It was picked in hindsight, from the very texts it is judged by.")
        if adaptive is not None:
            rest.append(
                f"Of the policies that adapt, {adaptive.policy} is fastest, with {times(adaptive.all.speedup)}."
            )
    elif best.all.over_static is not None:
        rest.append(
            f"Against {report.best_static}, the best static gamma in hindsight, that is {times(best.all.over_static)}"
            f"{_between(best.all.over_static)}."
        )
    if adaptive is not None and _alike(adaptive.all.over_static):
        rest.append(f"These texts are too few to tell {adaptive.policy} and {report.best_static} apart.")
    return [lead, *([" ".join(rest)] if rest else []), *_headroom(report, adaptive)]


def _alike(over: Ratio | None) -> bool:
    return (
        over is not None and over.low is not None and over.high is not None and over.low <= 1.0 <= over.high
    )


def _headroom(report: Report, row: Row | None) -> list[str]:
    if report.oracle is None:
        return []
    said = f"Someone who knew every outcome beforehand would reach {times(report.oracle)}."
    if row is not None and row.all.captured is not None:
        said += f" {row.policy} saves {share(row.all.captured)} of the time between plain decoding and that"
        if row.all.captured_static is not None and report.best_static is not None:
            way = share(row.all.captured_static) if row.all.captured_static.value > 0.0 else "none"
            said += f", and {way} of the time between {report.best_static} and that"
        said += "."
    return [said]


def warnings(report: Report) -> Iterator[Warned]:
    """Yield what a reader must know before believing the result, the gravest first."""
    worst = report.worst_check
    if worst is not None and abs(worst.error) > LARGEST_MISS:
        yield Warned(
            f"This replay misses the measured speeds by up to {abs(worst.error):.0%}: it says {worst.predicted:.1f} "
            f"tokens a second for {worst.label}, and {worst.measured:.1f} were measured. Differences smaller than "
            "that mean nothing here; record again on a machine that does nothing else.",
            grave=True,
        )
    if report.made_up:
        yield Warned(
            "These texts come from a generator and not from models: what holds here need not hold for yours."
        )
    elif not report.checks:
        yield Warned(
            "No measured run stands beside this replay, so nobody knows how well it predicts real speeds."
        )
    if report.varying < report.texts:
        count = report.texts - report.varying
        circles = "loops or repeats itself" if count == 1 else "loop or repeat themselves"
        yield Warned(
            f"{count} of {report.texts} texts {circles}, which flatters speculation; figures headed “varying” "
            "leave them out."
            if report.varying
            else "Every text loops or repeats itself, which flatters speculation."
        )
    if report.texts < FEWEST:
        yield Warned(f"There are {TOO_FEW}.")
    if report.sampled:
        yield Warned("Tokens were drawn; what is accepted is one draw for each text.")


def page(report: Report, pictures: Mapping[str, Drawing]) -> str:
    """Return the page; the same report give the same bytes."""
    templates = Environment(
        loader=PackageLoader(PACKAGE), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    templates.filters.update(
        times=times, share=share, interval=interval, share_interval=share_interval, block=_block
    )
    chosen, prices = report.shown, report.prices
    style = (resources.files(PACKAGE) / "templates" / "style.css").read_text(encoding="utf-8")
    # The two files are ours and hold no data, so they may stand in the page as they are.
    return templates.get_template("page.html").render(
        report=report,
        verdict=verdict(report),
        warnings=list(warnings(report)),
        pictures={name: Markup(inline(drawing)) for name, drawing in pictures.items()},  # noqa: S704 - see `inline`
        titles={name: drawing.title for name, drawing in pictures.items()},
        read=READ,
        style=Markup(style),  # noqa: S704
        light=Markup(variables("light")),  # noqa: S704
        dark=Markup(variables("dark")),  # noqa: S704
        largest_miss=LARGEST_MISS,
        apart=0 < report.varying < report.texts,
        chosen=chosen,
        rest=[row for row in report.rows if row not in chosen],
        lengths=sorted(
            prices.verify.keys() | {length for seconds in prices.draft.values() for length in seconds}
        )
        if prices
        else [],
        longest=max((len(positions.reached) for positions in report.positions), default=0),
        first_price=prices.verify[min(prices.verify)] if prices else 1.0,
    )


def _block(policy: Mapping[str, Any]) -> str:
    return json.dumps(policy, ensure_ascii=False)


def document(report: Report) -> dict[str, Any]:
    """Return everything that the page shows as JSON-able values."""
    worst = report.worst_check
    return {
        "verdict": " ".join(verdict(report)),
        "warnings": [warning.text for warning in warnings(report)],
        "rows": [_row(row, report) for row in report.rows],
        "plain": report.plain.policy,
        "best_static": report.best_static,
        "best": report.rows[0].policy,
        "oracle": report.oracle,
        "setting": _setting(report.comparison),
        "texts": report.texts,
        "varying": report.varying,
        "tokens": report.tokens,
        "timelines": [asdict(timeline) for timeline in report.timelines],
        "timeline_policy": report.timeline_policy,
        "curves": [asdict(curve) for curve in report.curves],
        "positions": [asdict(positions) for positions in report.positions],
        "kinds": [_kind(kind, report.comparison) for kind in report.comparison.kinds],
        "settings": [_setting(setting) for setting in report.settings],
        "checks": [
            {
                "policy": check.label,
                "texts": check.texts,
                "predicted": check.predicted,
                "measured": check.measured,
            }
            for check in report.checks
        ],
        "prices": asdict(report.prices) if report.prices is not None else None,
        "left_out": dict(report.left_out),
        "machine": dict(report.machine),
        "source": dict(report.source),
        "made_up": report.made_up,
        "sampled": report.sampled,
        "static_speedup": _ratio(report.static_speedup),
        "validation_error": worst.error if worst is not None else None,
    }


def _ratio(ratio: Ratio | None) -> dict[str, float | None] | None:
    return ratio.to_json() if ratio is not None else None


def _row(row: Row, report: Report) -> dict[str, Any]:
    figures, varying = row.all, row.varying
    return {
        "label": row.policy,
        "policy": dict(row.options),
        "fixed": row.static,
        "speedup": _ratio(figures.speedup),
        "over_static": _ratio(figures.over_static) if row.policy != report.best_static else None,
        "varying": _ratio(varying.speedup) if varying is not None else None,
        "captured": _ratio(figures.captured),
        "captured_static": _ratio(figures.captured_static),
        "captured_varying": _ratio(varying.captured) if varying is not None else None,
        "acceptance": row.acceptance,
        "per_round": figures.accepted_tokens,
        "gamma": row.totals.gamma,
        "shares": asdict(row.shares),
    }


def _setting(comparison: Comparison) -> dict[str, Any]:
    best = comparison.best_static
    return {
        "order": comparison.order,
        "start": comparison.start,
        "seeds": list(comparison.seeds),
        "speedups": {row.policy: _ratio(row.all.speedup) for row in comparison.rows},
        "best_static": best.label if best is not None else None,
    }


def _kind(kind: str, comparison: Comparison) -> dict[str, Any]:
    rows = {row.policy: row.kinds[kind] for row in comparison.rows if kind in row.kinds}
    plain, best = rows[comparison.plain], comparison.best_static
    return {
        "kind": kind,
        "texts": plain.texts,
        "tokens": round(plain.tokens),
        "speedups": {policy: _ratio(row.speedup) for policy, row in rows.items()},
        "accepted_tokens": {policy: row.accepted_tokens for policy, row in rows.items()},
        "spec_bench": {policy: row.spec_bench for policy, row in rows.items()},
        "oracle": plain.oracle.value if plain.oracle is not None else None,
        "best_static": _ratio(comparison.speedup(best.label, texts=comparison.kinds[kind])) if best else None,
    }
