"""What a report says in sentences: the result, the warnings, and how to read each picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from paceline.lab.intervals import FEWEST, TOO_FEW
from paceline.lab.validation import LARGEST_MISS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paceline.lab.intervals import Ratio
    from paceline.lab.report.findings import Findings, Row

MINUS = "−"

READ = {
    "ranking": (
        "A mark is how many times faster than plain decoding a policy is over all texts; the line through it "
        "is a 90 % interval over the texts. Filled circles adapt, hollow squares "
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


def times(estimate: Ratio | None) -> str:
    """Write a ratio as `1.72×`, or nothing when it is unknown."""
    return "" if estimate is None else f"{estimate.value:.2f}×"


def share(estimate: Ratio | None) -> str:
    """Write a share as `41 %`, or nothing when it is unknown."""
    return "" if estimate is None else f"{_whole(estimate.value)} %"


def _whole(value: float) -> str:
    return f"{100 * value:.0f}".replace("-0", "0").replace("-", MINUS)


def interval(estimate: Ratio | None, *, percent: bool = False) -> str:
    """Write an interval as `1.60–1.80` or `31 to 52`, or nothing when it is unknown."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return ""
    if percent:
        return f"{_whole(estimate.low)} to {_whole(estimate.high)}"
    return f"{estimate.low:.2f}–{estimate.high:.2f}"


def _between(estimate: Ratio) -> str:
    inside = interval(estimate)
    return f" (90 % interval {inside})" if inside else ""


@dataclass(frozen=True, slots=True)
class Warned:
    """Something a reader must know before believing the result; grave when the result may be wrong."""

    text: str
    grave: bool = False


def verdict(findings: Findings) -> list[str]:
    """Return the result: one sentence first, and then what puts it into proportion."""
    best = findings.rows[0]
    where = f"On {findings.texts} texts of {findings.tokens:,} tokens"
    adaptive = next((row for row in findings.rows if not row.fixed), None)
    if best.label == findings.plain:
        second = next((row for row in findings.rows if row.label != findings.plain), None)
        closest = [f"{second.label} comes closest, at {times(second.speedup)}."] if second else []
        return [f"{where}, nothing is faster than plain decoding.", *closest]
    lead = f"{where}, {best.label} is fastest: {times(best.speedup)} plain decoding{_between(best.speedup)}."
    rest = []
    if best.fixed:
        rest.append("It was picked in hindsight, from the very texts it is judged by.")
        if adaptive is not None:
            rest.append(
                f"Of the policies that adapt, {adaptive.label} is fastest, with {times(adaptive.speedup)}."
            )
    elif best.over_static is not None:
        rest.append(
            f"Against {findings.best_static}, the best static gamma in hindsight, that is {times(best.over_static)}"
            f"{_between(best.over_static)}."
        )
    if adaptive is not None and _alike(adaptive.over_static):
        rest.append(f"These texts are too few to tell {adaptive.label} and {findings.best_static} apart.")
    return [lead, *([" ".join(rest)] if rest else []), *_headroom(findings, adaptive)]


def _alike(over: Ratio | None) -> bool:
    return (
        over is not None and over.low is not None and over.high is not None and over.low <= 1.0 <= over.high
    )


def _headroom(findings: Findings, row: Row | None) -> list[str]:
    if findings.oracle is None:
        return []
    said = f"Someone who knew every outcome beforehand would reach {findings.oracle:.2f}×."
    if row is not None and row.captured is not None:
        said += f" {row.label} saves {share(row.captured)} of the time between plain decoding and that"
        if row.captured_static is not None and findings.best_static is not None:
            way = share(row.captured_static) if row.captured_static.value > 0.0 else "none"
            said += f", and {way} of the time between {findings.best_static} and that"
        said += "."
    return [said]


def warnings(findings: Findings) -> Iterator[Warned]:
    """Yield what a reader must know before believing the result, the gravest first."""
    worst = findings.worst_check
    if worst is not None and abs(worst.error) > LARGEST_MISS:
        yield Warned(
            f"This replay misses the measured speeds by up to {abs(worst.error):.0%}: it says {worst.predicted:.1f} "
            f"tokens a second for {worst.policy}, and {worst.measured:.1f} were measured. Differences smaller than "
            "that mean nothing here; record again on a machine that does nothing else.",
            grave=True,
        )
    if findings.made_up:
        yield Warned(
            "These texts come from a generator and not from models: what holds here need not hold for yours."
        )
    elif not findings.checks:
        yield Warned(
            "No measured run stands beside this replay, so nobody knows how well it predicts real speeds."
        )
    if findings.varying < findings.texts:
        count = findings.texts - findings.varying
        circles = "loops or repeats itself" if count == 1 else "loop or repeat themselves"
        yield Warned(
            f"{count} of {findings.texts} texts {circles}, which flatters speculation; figures headed “varying” "
            "leave them out."
            if findings.varying
            else "Every text loops or repeats itself, which flatters speculation."
        )
    if findings.texts < FEWEST:
        yield Warned(f"There are {TOO_FEW}.")
    if findings.sampled:
        yield Warned("Tokens were drawn; what is accepted is one draw for each text.")
