"""Policies compared on the same texts: one set of figures, whatever measured them and whichever command shows them.

A policy's seconds for a text are the median over repeats, and of these the mean over seeds and draws. A speed-up is the
ratio of tokens a second over the texts that both finished. docs/regret.md has the formulas.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from paceline.core.errors import ConfigError
from paceline.core.generation import Totals
from paceline.lab.figures import (
    ALL,
    LOOPING,
    ORACLE,
    VARYING,
    Comparison,
    Figures,
    Regret,
    Row,
    Time,
    Times,
    amounts,
    is_static,
    ratio,
)
from paceline.lab.hindsight import BestStatic
from paceline.lab.stats import captured, spec_bench, speedup

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from paceline.lab.hindsight import Hindsight
    from paceline.lab.results import Measurement, Results


def by_setting(results: Results) -> list[Results]:
    """Return the results of each setting: of the passes that share clock, order and start."""
    ways = dict.fromkeys((key.clock, key.order, key.start) for key in results.passes)
    return [results.where(clock=clock, order=order, start=start) for clock, order, start in ways]


def compare(
    results: Results,
    *,
    hindsight: Hindsight | None = None,
    oracle: bool = True,
    regret: bool = False,
    statics: Collection[str] = (),
) -> Comparison:
    """Compare the policies of one setting.

    Args:
        results: Measurements in one setting; see `by_setting`.
        hindsight: Of the recording, where the measurements are of one.
        oracle: Whether to compare with the oracle, where hindsight is at hand; working it out takes a while.
        regret: Whether to work out what was lost, too.
        statics: Without hindsight, the labels of the static choices that the best one is chosen from.

    Raises:
        ConfigError: There is no plain decoding to compare with, or there are several settings.
        TraceError: The hindsight is of a recording that lacks a text.
    """
    if (count := len(by_setting(results))) != 1:
        raise ConfigError(f"a comparison is of one setting; found {count}: choose one with `where`")
    key = next(iter(results.passes))
    plain = plain_label(results)
    draws = tuple(dict.fromkeys(key.draw for key in results.passes))
    measured = {policy: list(results.where(policy=policy)) for policy in results.policies()}
    texts = {measurement.text: measurement for measurement in reversed(measured[plain])}
    texts = {text: texts[text] for text in dict.fromkeys(measurement.text for measurement in measured[plain])}
    times = {policy: times_of(listed) for policy, listed in measured.items()}
    best = (
        hindsight.best_static(list(texts), draws)
        if hindsight is not None
        else _best_measured(times, plain, statics, results.options)
    )
    if best is not None:
        times.setdefault(best.label, {text: Time(texts[text].tokens, best.seconds[text]) for text in texts})
    if hindsight is not None and oracle:
        times[ORACLE] = {
            text: Time(measurement.tokens, fmean(hindsight.optimum(text, draw).seconds for draw in draws))
            for text, measurement in texts.items()
        }
    groups, kinds = _groups(texts), _kinds(texts) if key.order != "switching" else {}
    work = _Work(times, plain, best, hindsight if regret and oracle else None, draws, texts)
    rows = [
        Row(
            policy,
            results.options.get(policy, {}),
            work.by_group(policy, groups, listed),
            work.by_group(policy, kinds, listed),
            reduce(add, (measurement.totals for measurement in listed), Totals()),
            listed,
        )
        for policy, listed in measured.items()
    ]
    return Comparison(
        clock=key.clock,
        order=key.order,
        start=key.start,
        seeds=tuple(dict.fromkeys(key.seed for key in results.passes)),
        draws=draws,
        plain=plain,
        rows=[row for row in rows if ALL in row.groups],
        groups=groups,
        kinds=kinds,
        best_static=best,
        times=times,
    )


def plain_label(results: Results) -> str:
    """Return the label of plain decoding.

    Raises:
        ConfigError: It was not measured.
    """
    for policy in results.policies():
        options = results.options.get(policy, {})
        if is_static(options) and options.get("gamma") == 0:
            return policy
    key = next(iter(results.passes), None)
    setting = f" in the setting {key.order}, {key.start}" if key is not None else ""
    raise ConfigError(
        f"there is no plain decoding{setting}, which everything is compared with; replay with static-0 among the "
        "policies"
    )


def times_of(measurements: Iterable[Measurement]) -> dict[str, Time]:
    """Return the times of one policy: by text the median over repeats, and of these the mean over seeds and draws."""
    repeats: dict[str, dict[tuple[int, int | None], list[Measurement]]] = {}
    for measurement in measurements:
        by_seed = repeats.setdefault(measurement.text, {})
        by_seed.setdefault((measurement.seed, measurement.draw), []).append(measurement)
    return {
        text: Time(
            fmean(median(measurement.tokens for measurement in listed) for listed in by_seed.values()),
            fmean(median(measurement.seconds for measurement in listed) for listed in by_seed.values()),
        )
        for text, by_seed in repeats.items()
    }


def _best_measured(
    times: Mapping[str, Times], plain: str, statics: Collection[str], options: Mapping[str, Mapping[str, Any]]
) -> BestStatic | None:
    base = times[plain]
    speeds = {
        policy: speed.value
        for policy in statics
        if policy in times and (speed := ratio(times[policy], base, base))
    }
    label = max(speeds, key=speeds.__getitem__, default=None)
    if label is None:
        return None
    return BestStatic(label, options[label], {text: time.seconds for text, time in times[label].items()})


def _groups(texts: Mapping[str, Measurement]) -> dict[str, list[str]]:
    groups = {
        ALL: list(texts),
        VARYING: [text for text, measurement in texts.items() if measurement.varies],
        LOOPING: [text for text, measurement in texts.items() if not measurement.varies],
    }
    return {name: members for name, members in groups.items() if members}


def _kinds(texts: Mapping[str, Measurement]) -> dict[str, list[str]]:
    kinds: dict[str, list[str]] = {}
    for text, measurement in texts.items():
        kinds.setdefault(measurement.kind, []).append(text)
    return kinds


@dataclass(frozen=True, slots=True)
class _Work:
    """All that the figures of one comparison are worked out from."""

    times: Mapping[str, Times]
    plain: str
    best: BestStatic | None
    hindsight: Hindsight | None
    draws: Sequence[int | None]
    texts: Mapping[str, Measurement]

    def by_group(
        self, policy: str, groups: Mapping[str, Sequence[str]], measurements: Sequence[Measurement]
    ) -> dict[str, Figures]:
        """Return the figures of each group that the policy finished a text of."""
        finished = {
            name: [text for text in members if text in self.times[policy]] for name, members in groups.items()
        }
        return {name: self.figures(policy, texts, measurements) for name, texts in finished.items() if texts}

    def figures(self, policy: str, texts: Sequence[str], measurements: Iterable[Measurement]) -> Figures:
        """Return the figures on some texts, all of which the policy finished."""
        tokens, seconds = amounts(self.times[policy], texts)
        plain_tokens, plain = amounts(self.times[self.plain], texts)
        static = amounts(self.times[self.best.label], texts)[1] if self.best is not None else None
        oracle = amounts(self.times[ORACLE], texts)[1] if ORACLE in self.times else None
        members = set(texts)
        totals = [measurement.totals for measurement in measurements if measurement.text in members]
        rounds = sum(counts.rounds for counts in totals)
        return Figures(
            texts=len(texts),
            tokens=sum(tokens),
            seconds=sum(seconds),
            plain_s=sum(plain),
            speedup=speedup(tokens, seconds, plain_tokens, plain),
            over_static=None
            if static is None or self.best is None
            else ratio(self.times[policy], self.times[self.best.label], texts),
            captured=None if oracle is None else captured(plain, seconds, oracle),
            captured_static=None if oracle is None or static is None else captured(static, seconds, oracle),
            oracle=None if oracle is None else speedup(plain_tokens, oracle, plain_tokens, plain),
            accepted_tokens=sum(counts.emitted for counts in totals) / rounds if rounds else None,
            spec_bench=spec_bench(tokens, seconds, plain_tokens, plain),
            regret=None if oracle is None else self.regret(texts, tokens, seconds, oracle),
        )

    def regret(
        self, texts: Sequence[str], tokens: list[float], seconds: list[float], oracle: list[float]
    ) -> Regret | None:
        """Return what was lost on some texts; None where nobody asked for it."""
        hindsight, draws = self.hindsight, self.draws
        if hindsight is None:
            return None
        total, taken = sum(tokens), sum(seconds)
        tuned_to = hindsight.tuned(
            {text: measurement.kind for text, measurement in self.texts.items()}, draws
        )
        static = [hindsight.static_s(text, draws) for text in texts]
        tuned = [each[tuned_to[text]] for text, each in zip(texts, static, strict=True)]
        plain = amounts(self.times[self.plain], texts)
        expected = [fmean(hindsight.expected_s(text, draw) for draw in draws) for text in texts]
        segmented = [hindsight.segmented_s(text, draw) for text in texts for draw in draws]
        return Regret(
            oracle_s=(taken - sum(oracle)) / total,
            static_s=(taken - sum(min(each.values()) for each in static)) / total,
            dynamic_s=(taken - sum(segmented) / len(draws)) / total,
            over_tuned=speedup(tokens, seconds, tokens, tuned),
            oracle_expected=speedup(plain[0], expected, *plain),
            exact=all(hindsight.optimum(text, draw).exact for text in texts for draw in draws),
        )
