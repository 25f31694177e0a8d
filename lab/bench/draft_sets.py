"""Sets of drafts side by side, each under the same policy: which of them pays, on these prompts and this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from paceline.lab.bench.choices import Choice
from paceline.lab.bench.run import BASE, LoopMode
from paceline.lab.replay.policy_code import Fingerprints
from paceline.lab.short_names import plain_decoder
from paceline.lab.stats import interval, times

if TYPE_CHECKING:
    from collections.abc import Collection

    from paceline.core.plugins.catalogue import Catalogue
    from paceline.lab.bench.summary import Summary
    from paceline.lab.models import Models
    from paceline.lab.stats import Ratio

WITHOUT_MODEL = ("lookup", "suffix")
"""Short names of the drafts that anybody has."""


def label(drafts: Collection[str]) -> str:
    """Return the name of the mode that has these drafts."""
    return f"with {' + '.join(drafts)}"


def draft_sets(drafts: Collection[str]) -> list[tuple[str, ...]]:
    """Return the sets that are worth a try: each draft alone, and two of them unless both are models.

    A second model costs memory and, to keep up with the text, time; `auto` with three drafts or more is seldom faster
    than with the best two.
    """
    pairs = [pair for pair in combinations(drafts, 2) if any(draft in WITHOUT_MODEL for draft in pair)]
    return [*((draft,) for draft in drafts), *pairs]


def choose_sets(parts: Models, catalogue: Catalogue) -> Choice:
    """Make a mode of each set of the run's drafts, under the run's policy; plain decoding is among them."""
    choice, fingerprints = Choice(), Fingerprints(catalogue)
    choice.modes[BASE] = LoopMode(BASE, plain_decoder(parts, catalogue))
    policy = parts.config.policy
    for names in draft_sets(parts.drafts):
        mode = label(names)
        choice.modes[mode] = LoopMode(mode, parts.under(policy, {name: parts.drafts[name] for name in names}))
        choice.policies[mode] = policy.model_dump(mode="json") | {"drafts": list(names)}
        choice.code[mode] = fingerprints.of(policy)
    return choice


@dataclass(frozen=True, slots=True)
class Finding:
    """The set of drafts to use.

    Attributes:
        drafts: Their names; none where nothing pays.
        fastest: Those of the set that was fastest.
        speedup: The drafts to use over plain decoding; where nothing pays, that of the fastest.
        over_fastest: The drafts to use over the fastest, where they are others.
        prompts: How many prompts it is of.
    """

    drafts: tuple[str, ...]
    fastest: tuple[str, ...]
    speedup: Ratio
    over_fastest: Ratio | None
    prompts: int

    def sentences(self) -> str:
        """Return it for readers."""
        measured = f"{self.prompts} prompt{'s' * (self.prompts != 1)}"
        if not self.drafts:
            return (
                f"Nothing pays: over {measured} the fastest, {_listed(self.fastest)}, is {_shown(self.speedup)} "
                "plain decoding. Decode plainly."
            )
        text = f"Use {_listed(self.drafts)}: {_shown(self.speedup)} plain decoding over {measured}."
        if self.over_fastest is not None:
            text += (
                f" The fastest there was {_listed(self.fastest)}, but not surely: the choice is "
                f"{_shown(self.over_fastest)} that, and simpler."
            )
        return text


def find(summary: Summary, drafts: Collection[str]) -> Finding | None:
    """Return the set to use; None where too little was measured for an interval.

    That is the smallest set, models counting most, that is not surely slower than the fastest. Plain decoding it is
    where the fastest is not surely faster than that.
    """
    speedups = {
        names: row.all.speedup
        for names in draft_sets(drafts)
        for row in summary.rows
        if row.policy == label(names) and row.all.speedup is not None
    }
    if not speedups or any(speedup.low is None for speedup in speedups.values()):
        return None
    prompts = max(row.all.texts for row in summary.rows)
    fastest = max(speedups, key=lambda names: speedups[names].value)
    best = speedups[fastest]
    if best.low is not None and best.low <= 1.0:
        return Finding((), fastest, best, None, prompts)
    for names in sorted(speedups, key=lambda names: (_size(names), -speedups[names].value)):
        over = summary.over(label(names), label(fastest)) if names != fastest else None
        if names == fastest or (
            over is not None and (over.high or over.value) >= 1.0 and _pays(speedups[names])
        ):
            return Finding(names, fastest, speedups[names], over, prompts)
    return None


def blocks(finding: Finding, parts: Models) -> Mapping[str, Any]:
    """Return the blocks of a run with the drafts that were found."""
    config = parts.config
    drafts = {
        name: config.drafts[name].model_dump(mode="json", exclude_unset=True) for name in finding.drafts
    }
    target = config.target.model_dump(mode="json", exclude_unset=True)
    policy = config.policy.model_dump(mode="json", exclude_unset=True)
    return {"target": target, "drafts": drafts, "policy": policy}


def _pays(speedup: Ratio) -> bool:
    return speedup.low is not None and speedup.low > 1.0


def _size(names: tuple[str, ...]) -> tuple[int, int]:
    return sum(name not in WITHOUT_MODEL for name in names), len(names)


def _listed(names: tuple[str, ...]) -> str:
    return " and ".join(names)


def _shown(ratio: Ratio) -> str:
    between = interval(ratio)
    return f"{times(ratio)} ({between})" if between else times(ratio)
