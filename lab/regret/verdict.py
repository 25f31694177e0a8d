"""From a replay to verdicts: each policy against plain decoding, static choices and the optimum, group by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from statistics import fmean
from typing import TYPE_CHECKING, Any

from paceline.core.errors import TraceError
from paceline.lab.intervals import Ratio, captured, ratio
from paceline.lab.policies import static_label
from paceline.lab.regret.yardsticks import WINDOW, Rivals, Yardstick, rivals, yardsticks

if TYPE_CHECKING:
    from collections.abc import Callable

    from paceline.lab.recording.model import Recording
    from paceline.lab.replay.results import Order, Outcome, Pass, Replay, Start

ALL, VARYING = "all", "varying"
"""Groups beside the kinds: every text, and those that neither loop nor repeat themselves."""


@dataclass(frozen=True, slots=True)
class Group:
    """One pass on some of its texts; docs/regret.md has the formulas.

    Attributes:
        texts, tokens: How many.
        exact: Whether the optimum of every text is reached by some choices.
        speedup: Over plain decoding.
        over_static: Over the static choice that is best for all texts of the pass, in hindsight.
        over_tuned: Over the static choice that was best on the other half of the texts.
        oracle: The optimum over plain decoding.
        oracle_expected: Likewise the optimum of somebody who knows the chance of every token and not how it falls; the
            same where nothing was drawn.
        captured: Share of the time between plain decoding and the optimum that is saved.
        captured_static: Likewise between the best static choice and the optimum.
        plain_s: Seconds a token of plain decoding.
        regret_s: Seconds a token lost to the optimum.
        regret_static_s: Likewise to the best static choice of each text; below 0 where that is beaten.
        regret_dynamic_s: Likewise to the best static choice of each segment.
        accepted_tokens: Spec-Bench's mean accepted tokens: tokens delivered a round, 1 for plain decoding.
        spec_bench: Spec-Bench's speed-up: the mean over texts of tokens a second, over that of plain decoding.
    """

    texts: int
    tokens: int
    exact: bool
    speedup: Ratio | None
    over_static: Ratio | None
    over_tuned: Ratio | None
    oracle: Ratio | None
    oracle_expected: Ratio | None
    captured: Ratio | None
    captured_static: Ratio | None
    plain_s: float
    regret_s: float
    regret_static_s: float
    regret_dynamic_s: float
    accepted_tokens: float
    spec_bench: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """One pass of a replay.

    Attributes:
        label, policy, order, start, seed: Of the pass.
        groups: All texts, those that vary where some do and some do not, and each kind where there are several.
        best_static: The static choice that is best for all texts of the pass, in hindsight, as tables call it.
        curve: Seconds lost to the optimum, summed up text after text in the order of the pass.
    """

    label: str
    policy: Mapping[str, Any]
    order: Order
    start: Start
    seed: int
    draw: int | None
    groups: Mapping[str, Group]
    best_static: str
    curve: Sequence[float]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        return asdict(self)


def judge(
    replay: Replay,
    recording: Recording,
    *,
    window: int = WINDOW,
    on_text: Callable[[str], None] | None = None,
) -> list[Verdict]:
    """Return a verdict on every pass, in the order of the replay.

    Args:
        replay: What policies took.
        recording: What was replayed.
        window: Tokens of a segment; see `Yardstick.segmented_s`.
        on_text: Told the name of each text whose optimum is found, for a progress bar.

    Raises:
        TraceError: A text of the replay is not in the recording.
    """
    played: dict[int | None, dict[str, None]] = {}
    for one in replay.passes:
        played.setdefault(one.draw, {}).update(dict.fromkeys(outcome.text for outcome in one.outcomes))
    places = {name: place for place, name in enumerate(recording.texts.names())}
    known = {
        # As recorded, whatever pass came first; spliced texts after that.
        draw: yardsticks(
            recording,
            sorted(names, key=lambda name: (places.get(name, len(places)), name)),
            draw=draw,
            window=window,
            on_text=on_text,
        )
        for draw, names in played.items()
    }
    first = next(iter(recording.header.drafts), None)
    return [judge_pass(one, known[one.draw], first=first) for one in replay.passes]


def judge_pass(one: Pass, known: Mapping[str, Yardstick], *, first: str | None = None) -> Verdict:
    """Return the verdict on one pass.

    Args:
        one: What a policy took.
        known: What its texts would have taken otherwise, in the same draw; see `yardsticks`.
        first: The first draft listed, which labels leave out.

    Raises:
        TraceError: A text is not known.
    """
    missing = [outcome.text for outcome in one.outcomes if outcome.text not in known]
    if missing:
        raise TraceError(
            f"pass {one.label!r}: nothing is known of text {missing[0]!r}; give the recording that was replayed"
        )
    # In the order of the yardsticks, so that every order of the same texts gives the same rounding.
    outcomes = {outcome.text: outcome for outcome in one.outcomes}
    listed = [(outcomes[name], known[name]) for name in known if name in outcomes]
    best = rivals({measure.text: measure for _, measure in listed})
    losses = [outcome.seconds - known[outcome.text].oracle_s for outcome in one.outcomes]
    return Verdict(
        label=one.label,
        policy=one.policy,
        order=one.order,
        start=one.start,
        seed=one.seed,
        draw=one.draw,
        groups={name: _group(some, best) for name, some in _grouped(listed, one.order).items()},
        best_static=static_label(best.overall.gamma, best.overall.draft or None, first),
        curve=list(accumulate(losses)),
    )


Pair = tuple["Outcome", Yardstick]


def _grouped(listed: Sequence[Pair], order: Order) -> dict[str, list[Pair]]:
    groups = {ALL: list(listed)} if listed else {}
    varying = [pair for pair in listed if pair[1].varies]
    if 0 < len(varying) < len(listed):
        groups[VARYING] = varying
    kinds = list(dict.fromkeys(measure.kind for _, measure in listed))
    if len(kinds) > 1 and order != "switching":  # pairs of kinds are as many as texts
        groups |= {kind: [pair for pair in listed if pair[1].kind == kind] for kind in kinds}
    return groups


def _group(some: Sequence[Pair], best: Rivals) -> Group:
    taken = [outcome.seconds for outcome, _ in some]
    plain = [measure.plain_s for _, measure in some]
    optimum = [measure.oracle_s for _, measure in some]
    static = [measure.statics[best.overall] for _, measure in some]
    tuned = [measure.statics[best.tuned[measure.text]] for _, measure in some]
    by_text = [min(measure.statics.values()) for _, measure in some]
    segmented = [measure.segmented_s for _, measure in some]
    tokens = [measure.tokens for _, measure in some]
    return Group(
        texts=len(some),
        tokens=sum(tokens),
        exact=all(measure.exact for _, measure in some),
        speedup=ratio(plain, taken),
        over_static=ratio(static, taken),
        over_tuned=ratio(tuned, taken),
        oracle=ratio(plain, optimum),
        oracle_expected=ratio(plain, [measure.expected_s for _, measure in some]),
        captured=captured(plain, taken, optimum),
        captured_static=captured(static, taken, optimum),
        plain_s=sum(plain) / sum(tokens),
        regret_s=(sum(taken) - sum(optimum)) / sum(tokens),
        regret_static_s=(sum(taken) - sum(by_text)) / sum(tokens),
        regret_dynamic_s=(sum(taken) - sum(segmented)) / sum(tokens),
        accepted_tokens=sum(tokens) / sum(outcome.rounds for outcome, _ in some),
        spec_bench=_mean_rate(tokens, taken) / _mean_rate(tokens, plain),
    )


def _mean_rate(tokens: Sequence[int], seconds: Sequence[float]) -> float:
    return fmean(count / taken for count, taken in zip(tokens, seconds, strict=True))
