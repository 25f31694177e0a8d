"""From runs to the rows of the table: one summary for each mode."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from paceline.lab.bench import stats
from paceline.lab.bench.identity import mismatches
from paceline.lab.bench.loops import Texture, textures

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from paceline.lab.bench.records import Mismatch, Run
    from paceline.lab.stats import Ratio

BASE = "plain"
"""Plain decoding in our own loop: what every speed-up is measured against."""


@dataclass(frozen=True, slots=True)
class Summary:
    """One mode over all its runs. A number that the mode cannot tell is None.

    Attributes:
        runs: Timed runs.
        tokens_per_second: Over all prompts, each with the median of its repeats.
        speedup: Against plain decoding.
        over_reference: Against the library's own plain decoding.
        kinds: Speed-up against plain decoding for each kind of prompt.
        varying, looping: Speed-up on the prompts whose plain text varies, and on those where it goes round in circles.
        acceptance: Accepted over drafted tokens.
        tokens_per_round: New tokens over rounds.
        gamma: The mean planned gamma.
        overhead: Share of the decode seconds spent outside draft and target.
        differing: Runs whose output differs from plain decoding; None when that was not compared.
    """

    mode: str
    runs: int
    tokens_per_second: float
    speedup: Ratio | None = None
    over_reference: Ratio | None = None
    kinds: dict[str, Ratio] = field(default_factory=dict)
    varying: Ratio | None = None
    looping: Ratio | None = None
    acceptance: float | None = None
    tokens_per_round: float | None = None
    gamma: float | None = None
    overhead: float | None = None
    differing: int | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """All that a bench found.

    Attributes:
        best_static: The static mode that turned out fastest, if any ran.
        over_best_static: Every other mode against it.
        reference: The mode that is plain decoding by the target's own library, if it ran.
        compared: Whether outputs were compared with plain decoding's; drawn ones cannot be.
        different: Every run whose output differs.
        textures: What the plain text of each prompt is like.
        only_varying: Whether all other figures are of the prompts whose plain text varies.
        over_twin: Modes on further backends against the same modes on the first.
    """

    summaries: tuple[Summary, ...]
    best_static: str | None = None
    over_best_static: dict[str, Ratio] = field(default_factory=dict)
    reference: str | None = None
    different: tuple[Mismatch, ...] = ()
    compared: bool = True
    textures: dict[str, Texture] = field(default_factory=dict)
    only_varying: bool = False
    over_twin: dict[str, Ratio] = field(default_factory=dict)


def _over(top: float, bottom: float) -> float | None:
    return top / bottom if bottom else None


def _counted(runs: Sequence[Run]) -> dict[str, float | None]:
    """Return the figures that only our own loop can tell."""
    known = [(run, run.counts) for run in runs if run.counts is not None]
    if not known:
        return {}
    rounds = sum(counts.rounds for _, counts in known)
    decode_s = sum(counts.decode_s for _, counts in known)
    inside = sum(counts.draft_s + counts.verify_s for _, counts in known)
    drafted = sum(counts.drafted for _, counts in known)
    return {
        "acceptance": _over(sum(counts.accepted for _, counts in known), drafted),
        "tokens_per_round": _over(sum(len(run.tokens) for run, _ in known), rounds),
        "gamma": _over(sum(counts.planned for _, counts in known), rounds),
        "overhead": _over(decode_s - inside, decode_s),
    }


def summarise(
    runs: Sequence[Run],
    modes: Sequence[str],
    *,
    static: Sequence[str] = (),
    reference: str | None = None,
    compare: bool = True,
    only_varying: bool = False,
    twins: Mapping[str, str] = MappingProxyType({}),
) -> Result:
    """Summarise runs in the order of `modes`; modes without a run are left out.

    Args:
        runs: What was measured.
        modes: Every mode, in the order of the table.
        static: The modes that plan one gamma throughout; the fastest of them is the best static one of those run.
        reference: The mode that is plain decoding by the target's own library, if it offers one.
        compare: Whether all modes should have given the same tokens, as greedy decoding does.
        only_varying: Whether prompts are left out whose plain text goes round in circles.
        twins: For modes on further backends, the same mode on the first.
    """
    texts = textures(runs, BASE)
    varying = {prompt for prompt, text in texts.items() if text.varies}
    if only_varying:
        runs = [run for run in runs if run.prompt in varying]
    found = {mode: some for mode in modes if (some := stats.cells(runs, mode))}
    different = mismatches(runs, BASE) if compare else []
    differing = Counter(mismatch.mode for mismatch in different)
    kinds = _prompts_of_kinds(runs)

    def against(mode: str, base: str | None, prompts: Iterable[str] | None = None) -> Ratio | None:
        return stats.speedup(found[mode], found[base], prompts=prompts) if base in found else None

    def summary(mode: str) -> Summary:
        return Summary(
            mode=mode,
            runs=sum(run.mode == mode for run in runs),
            tokens_per_second=stats.rate(found[mode].values()),
            speedup=against(mode, BASE),
            over_reference=against(mode, reference),
            kinds={kind: ratio for kind, names in kinds.items() if (ratio := against(mode, BASE, names))},
            varying=against(mode, BASE, varying),
            looping=against(mode, BASE, texts.keys() - varying),
            differing=differing[mode] if compare and BASE in found else None,
            **_counted([run for run in runs if run.mode == mode]),
        )

    summaries = tuple(summary(mode) for mode in found)
    speeds = {one.mode: one.speedup.value for one in summaries if one.mode in static and one.speedup}
    best = max(speeds, key=speeds.__getitem__, default=None)
    over_best = {mode: ratio for mode in found if mode != best and (ratio := against(mode, best))}
    return Result(
        summaries,
        best,
        over_best,
        reference if reference in found else None,
        tuple(different),
        compare,
        texts,
        only_varying,
        {mode: ratio for mode in found if (ratio := against(mode, twins.get(mode)))},
    )


def _prompts_of_kinds(runs: Sequence[Run]) -> dict[str, set[str]]:
    kinds: dict[str, set[str]] = {}
    for run in runs:
        kinds.setdefault(run.kind, set()).add(run.prompt)
    return kinds
