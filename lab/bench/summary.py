"""A finished bench in figures: its comparison, and what only a bench knows besides."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from paceline.core.environment import describe_machine, huge_page_bytes, versions
from paceline.lab.bench.processor import SHARED, waiting
from paceline.lab.bench.run import BASE
from paceline.lab.comparison import compare
from paceline.lab.figures import LOOPING, VARYING
from paceline.lab.results import Results

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paceline.core.config.run import RunConfig
    from paceline.lab.bench.choices import Choice
    from paceline.lab.bench.run import Bench, Difference
    from paceline.lab.figures import Comparison, Row
    from paceline.lab.repetition import Repetition
    from paceline.lab.results import Clock, Measurement
    from paceline.lab.stats import Ratio
    from paceline.lab.workloads.prompts import Prompt

PLAIN = {"name": "static", "gamma": 0}


@dataclass(frozen=True, slots=True)
class Summary:
    """All that a bench found.

    Attributes:
        comparison: Of the modes that ran, in the order of the table; None where no block was finished.
        reference: The mode that is plain decoding by the target's own library, if it ran.
        compared: Whether outputs were compared with plain decoding's; drawn ones cannot be.
        different: Every run whose output differs.
        repetitions: What the plain text of each prompt is like.
        only_varying: Whether all other figures are of the prompts whose plain text varies.
        twins: For modes on further backends, the same mode on the first.
        failed: Modes that raised, with the error.
        waiting: Share of the time in which the process was ready to run and had no core; None where nobody tells. If it
            is large and one thread did the work, figures are of the processor's seconds: see `clock`.
        stolen: Share of the machine's time that its hypervisor gave to others.
    """

    comparison: Comparison | None
    reference: str | None = None
    compared: bool = True
    different: Sequence[Difference] = ()
    repetitions: Mapping[str, Repetition] = field(default_factory=dict)
    only_varying: bool = False
    twins: Mapping[str, str] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    waiting: float | None = None
    stolen: float = 0.0

    @property
    def clock(self) -> Clock:
        """Meaning of the seconds of all figures."""
        return self.comparison.clock if self.comparison is not None else "wall"

    @property
    def shared(self) -> bool:
        """True where other programs, or other machines, took a good part of the time."""
        return (self.waiting or 0.0) > SHARED or self.stolen > SHARED

    @property
    def rows(self) -> Sequence[Row]:
        """One for each mode that ran."""
        return self.comparison.rows if self.comparison is not None else ()

    @property
    def best_static(self) -> Row | None:
        """The static mode with the run's own drafts that turned out fastest, if any ran."""
        if self.comparison is None or self.comparison.best_static is None:
            return None
        return self.comparison.row(self.comparison.best_static.label)

    def differing(self, mode: str) -> int | None:
        """Return how many runs of a mode differ from plain decoding; None when that was not compared."""
        return Counter(difference.mode for difference in self.different)[mode] if self.compared else None

    def over(self, mode: str, other: str | None) -> Ratio | None:
        """Return how many times faster a mode is than another one, where both ran."""
        if self.comparison is None or other is None or other not in self.comparison.times:
            return None
        return self.comparison.speedup(mode, other)

    def over_twin(self) -> dict[str, Ratio]:
        """Return the modes on further backends against the same modes on the first."""
        return {
            row.policy: ratio
            for row in self.rows
            if (ratio := self.over(row.policy, self.twins.get(row.policy))) is not None
        }


def summarise(bench: Bench, choice: Choice, *, compared: bool = True, only_varying: bool = False) -> Summary:
    """Summarise the finished blocks of a bench; modes without a run are left out.

    Args:
        bench: What was measured.
        choice: The modes, and what is special about some.
        compared: Whether all modes should have given the same tokens, as greedy decoding does.
        only_varying: Whether prompts are left out whose plain text goes round in circles.
    """
    measured = [
        measurement
        for mode in bench.modes
        if mode not in bench.failed
        for measurement in bench.results.where(policy=mode)
        if measurement.varies or not only_varying
    ]
    waited = waiting(measurement.processor for measurement in measured)
    counted = Results(bench.results.source, {BASE: PLAIN, **choice.policies})
    busy = waited is not None and waited > SHARED
    counted.append(*((_by_processor(measured) if busy else []) or measured))
    texts = set(counted.texts())
    ran = choice.reference if choice.reference in counted.policies() else None
    return Summary(
        compare(counted, statics=choice.static) if counted.passes else None,
        ran,
        compared,
        [
            difference
            for difference in bench.differences
            if compared and difference.prompt in texts and difference.mode not in bench.failed
        ],
        bench.repetitions,
        only_varying,
        choice.twins,
        bench.failed,
        waited,
        bench.stolen,
    )


def _by_processor(measurements: Sequence[Measurement]) -> list[Measurement]:
    """Return measurements in seconds of the processor; none where more than one thread was at work on some."""
    counted = []
    for measurement in measurements:
        use = measurement.processor
        if use is None or use.threads is None or use.threads > 1:
            return []
        counted.append(replace(measurement, seconds=use.seconds, clock="cpu"))
    return counted


def document(
    summary: Summary,
    bench: Bench,
    choice: Choice,
    *,
    config: RunConfig,
    settings: Mapping[str, Any],
    interrupted: bool,
) -> dict[str, Any]:
    """Return a bench as JSON-able values: everything that is needed to judge it later, or to compute it anew.

    Tokens of outputs are left out except for their number: with identical outputs they say nothing, and where
    outputs differ `different` says where.
    """
    best = summary.best_static
    label = best.policy if best is not None else None
    over_best = {row.policy: summary.over(row.policy, label) for row in summary.rows if row.policy != label}
    return {
        "interrupted": interrupted,
        "versions": versions(),
        "machine": describe_machine() | {"huge_page_bytes": huge_page_bytes()},
        "config": config.model_dump(mode="json"),
        "policies": choice.policies,
        "settings": dict(settings),
        "clock": summary.clock,
        "shared": summary.shared,
        "waiting": summary.waiting,
        "stolen": summary.stolen,
        "modes": [_mode(row, summary) for row in summary.rows],
        "best_static": label,
        "best_static_speedup": _ratio(best.all.speedup) if best is not None else None,
        "over_best_static": {mode: asdict(ratio) for mode, ratio in over_best.items() if ratio is not None},
        "first_backend": choice.first_backend,
        "over_first_backend": {mode: asdict(ratio) for mode, ratio in summary.over_twin().items()},
        "reference": summary.reference,
        "compared": summary.compared,
        "different": [asdict(difference) for difference in summary.different],
        "failed": dict(summary.failed),
        "left_out": choice.left_out,
        "prompts": [_prompt(prompt, summary) for prompt in bench.prompts],
        "runs": [
            {
                "mode": measurement.policy,
                "prompt": measurement.text,
                "kind": measurement.kind,
                "repeat": measurement.repeat,
                "seconds": measurement.seconds,
                "processor": asdict(measurement.processor) if measurement.processor is not None else None,
                "tokens": measurement.tokens,
                "totals": asdict(measurement.totals),
            }
            for measurement in bench.results
        ],
    }


def _ratio(ratio: Ratio | None) -> dict[str, float | None] | None:
    return ratio.to_json() if ratio is not None else None


def _mode(row: Row, summary: Summary) -> dict[str, Any]:
    varying, looping, totals = row.groups.get(VARYING), row.groups.get(LOOPING), row.totals
    known = totals.rounds > 0
    return {
        "mode": row.policy,
        "runs": len(row.measurements),
        "tokens_per_second": row.all.tokens_per_second,
        "speedup": _ratio(row.all.speedup),
        "over_reference": _ratio(summary.over(row.policy, summary.reference)),
        "kinds": {kind: _ratio(figures.speedup) for kind, figures in row.kinds.items()},
        "varying": _ratio(varying.speedup) if varying is not None else None,
        "looping": _ratio(looping.speedup) if looping is not None else None,
        "acceptance": row.acceptance,
        "tokens_per_round": totals.tokens_per_round if known else None,
        "gamma": totals.gamma if known else None,
        "overhead": totals.overhead if known else None,
        "differing": summary.differing(row.policy),
    }


def _prompt(prompt: Prompt, summary: Summary) -> dict[str, Any]:
    """Return what is known of a prompt; whether its text loops is null where plain decoding did not get to it."""
    text = summary.repetitions.get(prompt.name)
    return {
        "name": prompt.name,
        "kind": prompt.kind,
        "prompt_tokens": len(prompt.tokens),
        "loops": text.loops if text else None,
        "repeats": text.repeats if text else None,
    }
