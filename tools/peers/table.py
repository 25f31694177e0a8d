"""The tables of a measurement, as Markdown."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from paceline.lab.stats import Ratio, estimate
from peers.measure import Setting, Text, Texts
from peers.modes import BASE, MODES, PRECISIONS, plain_of
from peers.weights import FLOAT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Written = dict[str, Text]
"""The texts of one mode by the names of their prompts."""


def tables(texts: Texts, limit: int) -> str:
    """Return a table of speeds for each setting, each with one of speeds by kind of prompt."""
    settings = dict.fromkeys(Setting(key.threads, key.temperature) for key in texts if key.limit == limit)
    return "\n\n".join(_setting(texts, setting, limit) for setting in settings)


def _setting(texts: Texts, setting: Setting, limit: int) -> str:
    written = by_mode(texts, setting, limit)
    base = written.get((BASE.name, FLOAT), {})
    head = (
        f"{len(base)} {'prompt' if len(base) == 1 else 'prompts'}, at most {limit} tokens each, {setting.threads} "
        f"{'thread' if setting.threads == 1 else 'threads'}, "
        f"{f'temperature {setting.temperature:g}' if setting.temperature else 'greedy'}; "
        f"{'CPU' if setting.threads == 1 else 'wall clock'} seconds a token"
    )
    lines = [
        f"**{head}**",
        "",
        "| mode | precision | speed | slowest to fastest prompt | same text | CPU / wall |",
        "|---|---|---|---|---|---|",
    ]
    kinds = list(dict.fromkeys(text.kind for text in base.values()))
    by_kind = [f"| mode | precision | {' | '.join(kinds)} |", f"|---|---|{'---|' * len(kinds)}"]
    for mode, precision in ((mode, precision) for precision in PRECISIONS for mode in MODES):
        mine = written.get((mode.name, precision))
        if mine is None:
            continue
        name = f"**{mode.label}**" if mode.ours else mode.label
        ratios = faster(mine, base, setting)
        if not ratios:
            continue
        reference = base if precision == FLOAT else written.get((plain_of(mode).name, precision), {})
        same = "" if setting.temperature or reference is mine else equal(mine, reference)
        spread = f"{min(ratios.values()):.2f} to {max(ratios.values()):.2f}"
        load = sum(text.cpu_s for text in mine.values()) / sum(text.wall_s for text in mine.values())
        lines.append(
            f"| {name} | {precision} | {mean(list(ratios.values()))} | {spread} | {same} | {load:.2f} |"
        )
        shown = [
            f"{mean(those).value:.2f}"
            if (those := [ratios[p] for p in ratios if mine[p].kind == kind])
            else ""
            for kind in kinds
        ]
        by_kind.append(f"| {name} | {precision} | {' | '.join(shown)} |")
    return "\n".join([*lines, "", *by_kind])


def by_mode(texts: Texts, setting: Setting, limit: int) -> Mapping[tuple[str, str], Written]:
    """Return the texts of a setting by mode and precision; those without a token tell no time of one."""
    written: dict[tuple[str, str], Written] = {}
    for key, text in texts.items():
        if (key.threads, key.temperature, key.limit) == (*setting, limit) and text.tokens:
            written.setdefault((key.mode, key.precision), {})[key.prompt] = text
    return written


def faster(mine: Written, base: Written, setting: Setting) -> dict[str, float]:
    """Return for each prompt that both have how many times faster a token is."""
    return {
        name: seconds_a_token(base[name], setting) / seconds_a_token(text, setting)
        for name, text in mine.items()
        if name in base
    }


def seconds_a_token(text: Text, setting: Setting) -> float:
    """Return CPU seconds with one thread, where others may have used the other cores, else those on the clock."""
    return (text.cpu_s if setting.threads == 1 else text.wall_s) / len(text.tokens)


def mean(ratios: Sequence[float]) -> Ratio:
    """Return the geometric mean of the ratios of prompts, each of which counts once, with its interval."""
    logs = [math.log(ratio) for ratio in ratios]
    ratio = estimate(lambda total, count: math.exp(total / count), logs, [1.0] * len(logs), logarithmic=True)
    assert ratio is not None
    return ratio


def equal(mine: Written, reference: Written) -> str:
    """Return how many texts are those of the reference, of those that both wrote."""
    both = [name for name in mine if name in reference]
    return f"{sum(mine[name].tokens == reference[name].tokens for name in both)}/{len(both)}" if both else ""
