"""The experiment: a language grows in stages, with few pairs; how good each synthesizer is, alone and in the circle.

For each seed: a model, pairs and queries of its own. In each stage a few labelled pairs and some unlabelled queries are
added. Test queries are new, and half of their phrases or so are held out: they occur in no other query. Counted are
programs that are the very same (exact) and that do the same on all examples (execution).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from statistics import NormalDist, fmean, stdev

from paceline_colead.circle import Colead, Decoded, decoder, still_programs, write
from paceline_colead.domain import Domain, Pair, distinct
from paceline_colead.execution import execute
from paceline_colead.grammar import Call
from paceline_colead.model import DataSynthesizer
from paceline_colead.nlu import NluSynthesizer

KINDS = ("nlu alone", "data alone", "nlu in the circle", "data in the circle", "colead")

STUDENT = (6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833)
"""The quantiles of Student's distribution with 1 to 9 degrees of freedom that leave 5 % above."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The size of the experiment.

    Attributes:
        labelled: Pairs with a label that each stage adds.
        unlabelled: Queries without one that each stage adds.
        test: Test queries of each stage.
        rounds: Turns of the circle in each stage.
        first_steps: Training steps of the first turn; and of a model alone, in its first stage.
        steps: Of each later one.
        width, layers: Size of the models.
    """

    labelled: int = 16
    unlabelled: int = 400
    test: int = 100
    rounds: int = 2
    first_steps: int = 240
    steps: int = 120
    width: int = 128
    layers: int = 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """One stage of one seed.

    Attributes:
        exact, execution: Share of test queries, by kind of synthesizer.
        pseudo: Pairs that the NLU side made for the last turn, as far as they can be judged.
        pseudo_right: How many of them are right.
        acceptance: By draft: the share of draft tokens that the model agreed with, for the NLU side before the circle
            and after.
        speedup: Seconds of plain decoding over those with the draft, of the same programs.
        tokens_per_round: Tokens that a round delivered with the draft.
        identical: Whether all tokens were those of plain decoding.
    """

    domain: str
    seed: int
    stage: int
    exact: dict[str, float]
    execution: dict[str, float]
    pseudo: int
    pseudo_right: int
    acceptance: dict[str, float]
    speedup: float
    tokens_per_round: float
    identical: bool


def evolve(
    name: str, seed: int, settings: Settings, *, say: Callable[[str], None] = lambda _: None
) -> Iterator[Outcome]:
    """Yield the outcome of each stage of one seed."""
    rng = Random(seed)
    colead: Colead | None = None
    alone: DataSynthesizer | None = None
    labels: dict[str, Call] = {}
    few: list[Pair] = []
    for stage in range(1, Domain.load(name).stages + 1):
        domain = Domain.load(name, stage)
        pairs = distinct(domain.pairs(rng), settings.labelled + settings.unlabelled, frozenset(labels))
        labels |= {pair.query: pair.program for pair in pairs}
        new, queries = pairs[: settings.labelled], [pair.query for pair in pairs[settings.labelled :]]
        test = distinct(domain.pairs(rng, held_out=True), settings.test, frozenset(labels))
        few = [*still_programs(few, domain), *new]

        first = colead is None or alone is None
        if colead is None or alone is None:
            alone, beside = (
                DataSynthesizer(domain, seed=seed, width=settings.width, layers=settings.layers)
                for _ in range(2)
            )
            colead = Colead(domain, beside, queries, new)
        else:
            colead.grow(domain, queries, new)
        say(f"{name}, seed {seed}, stage {stage}: training on {len(few)} pairs alone")
        alone.train(few, steps=settings.first_steps if first else settings.steps)
        for turn in range(settings.rounds):
            say(f"{name}, seed {seed}, stage {stage}: turn {turn + 1} of the circle")
            colead.round(settings.first_steps if first and not turn else settings.steps)

        yield _measured(test, alone, colead, labels, seed)


def _measured(
    test: Sequence[Pair], alone: DataSynthesizer, colead: Colead, labels: Mapping[str, Call], seed: int
) -> Outcome:
    domain, plain_nlu = colead.domain, NluSynthesizer(colead.domain)
    by_plain = decoder(colead.data, domain)
    by_draft = {
        "before": decoder(colead.data, domain, plain_nlu),
        "after": decoder(colead.data, domain, colead.nlu),
    }
    by_alone = decoder(alone, domain, plain_nlu)
    answers: dict[str, list[Call | None]] = {kind: [] for kind in KINDS}
    plain: list[Decoded] = []
    drafted: dict[str, list[Decoded]] = {name: [] for name in by_draft}
    for pair in test:
        # One after the other for each query, so that what else the machine does touches all alike.
        plain.append(write(colead.data, by_plain, domain, pair.query))
        for name, decoding in by_draft.items():
            drafted[name].append(write(colead.data, decoding, domain, pair.query))
        answers["nlu alone"].append(_best(plain_nlu, pair.query))
        answers["data alone"].append(write(alone, by_alone, domain, pair.query).program)
        answers["nlu in the circle"].append(_best(colead.nlu, pair.query))
        answers["data in the circle"].append(plain[-1].program)
        answers["colead"].append(colead.answer(pair.query, plain[-1].program))
    # Queries of earlier stages, whose programs are none any more, have no label to judge by.
    meant = still_programs([Pair(pair.query, labels[pair.query]) for pair in colead.pseudo], domain)
    known = {pair.query for pair in meant}
    judged = [pair for pair in colead.pseudo if pair.query in known]
    return Outcome(
        domain=domain.name,
        seed=seed,
        stage=domain.stage,
        exact={
            kind: fmean(given == pair.program for given, pair in zip(programs, test, strict=True))
            for kind, programs in answers.items()
        },
        execution={
            kind: fmean(
                given is not None and execute(domain.name, given) == execute(domain.name, pair.program)
                for given, pair in zip(programs, test, strict=True)
            )
            for kind, programs in answers.items()
        },
        pseudo=len(judged),
        pseudo_right=sum(labels[pair.query] == pair.program for pair in judged),
        acceptance={
            name: sum(each.accepted for each in group) / max(1, sum(each.drafted for each in group))
            for name, group in drafted.items()
        },
        speedup=sum(each.seconds for each in plain) / sum(each.seconds for each in drafted["after"]),
        tokens_per_round=sum(len(each.tokens) for each in drafted["after"])
        / sum(each.rounds for each in drafted["after"]),
        identical=all(
            [each.tokens for each in group] == [each.tokens for each in plain] for group in drafted.values()
        ),
    )


def _best(synthesizer: NluSynthesizer, query: str) -> Call | None:
    programs = synthesizer.read(query).programs
    return programs[0].program if programs else None


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over seeds with its 90 % interval by Student's distribution; none for a single seed."""

    mean: float
    reach: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Interval:
        """Return that of the values, one a seed."""
        freedom = len(values) - 1
        if freedom < 1:
            return cls(fmean(values), None)
        quantile = STUDENT[freedom - 1] if freedom <= len(STUDENT) else NormalDist().inv_cdf(0.95)
        return cls(fmean(values), quantile * stdev(values) / math.sqrt(len(values)))


def save(path: Path, outcomes: Sequence[Outcome], settings: Settings) -> None:
    """Write settings and outcomes as JSON."""
    document = {"settings": asdict(settings), "outcomes": [asdict(each) for each in outcomes]}
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
