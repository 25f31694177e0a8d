"""The circle: each synthesizer teaches the other, round after round, while the language grows.

The circular training framework is that of Colead (Gu, Nan, Peng, Shen, Xu: "Co-evolving data-driven and NLU-driven
Synthesizers for Generating Code in Domain Growth and Data Scarcity", PAN-DL 2023), as its abstract says it: "The
NLU-driven synthesizer generates query-code pairs to update the data-driven synthesizer, which shares a part of its
updated model to improve the NLU-driven synthesizers, enabling the co-evolution of both." The rest is our reading: pairs
are made of those unlabelled queries of which the NLU side is certain (`Reading.certain`); the part is the mapping from
words to APIs in the embeddings (see `model`); and the answer of both together is that of `Colead.answer`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from paceline import Sampling, SpeculativeDecoder, load_config
from paceline_colead.domain import Domain, Pair
from paceline_colead.draft import NluDraft
from paceline_colead.errors import ProgramError
from paceline_colead.grammar import Call
from paceline_colead.model import DataSynthesizer
from paceline_colead.nlu import NluSynthesizer

LONGEST_PROGRAM = 64
"""Tokens after which the model is stopped."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A program as the model wrote it, and what that took.

    Attributes:
        program: None where it is no program of the grammar.
        tokens: As they were delivered.
        drafted, accepted, rounds: Counts of the loop.
        seconds: Of this process's processor time.
    """

    program: Call | None
    tokens: tuple[int, ...]
    drafted: int
    accepted: int
    rounds: int
    seconds: float


def decoder(
    data: DataSynthesizer, domain: Domain, nlu: NluSynthesizer | None = None, *, seed: int = 0
) -> SpeculativeDecoder:
    """Return a decoder that writes programs of a domain, with the NLU-driven synthesizer as its draft if any."""
    drafts = {} if nlu is None else {"grammar": NluDraft(nlu, data.target)}
    policy = load_config({"policy": "auto"}).policy.build(seed)
    sampling = Sampling(temperature=0.0, processors=(data.constraint(domain),))
    return SpeculativeDecoder(data.target, drafts, policy, max_new_tokens=LONGEST_PROGRAM, sampling=sampling)


def write(data: DataSynthesizer, decoding: SpeculativeDecoder, domain: Domain, query: str) -> Decoded:
    """Return the program that the model makes of a query, greedily."""
    before = time.process_time()
    done = decoding.generate(data.prompt(query))
    seconds = time.process_time() - before
    try:
        program = domain.grammar.parse((done.text or "").split(), domain.file.literals)
    except ProgramError:
        program = None
    totals = done.totals
    return Decoded(program, done.tokens, totals.drafted, totals.accepted, totals.rounds, seconds)


class Colead:
    """Both synthesizers of a domain that grows.

    Args:
        domain: At its first stage.
        data: The data-driven synthesizer, untrained.
        unlabelled: Queries of users, without programs.
        labelled: The few pairs that there are; those of earlier stages stay as far as they are programs still.

    Attributes:
        nlu, data: The synthesizers as they are now.
        pseudo: The pairs that the NLU side has made, of the latest round.
    """

    def __init__(
        self, domain: Domain, data: DataSynthesizer, unlabelled: Sequence[str], labelled: Sequence[Pair]
    ) -> None:
        self.domain = domain
        self.unlabelled = list(unlabelled)
        self.labelled = list(labelled)
        self.data = data
        self.nlu = NluSynthesizer(domain)
        self.pseudo: list[Pair] = []

    def grow(self, domain: Domain, unlabelled: Sequence[str], labelled: Sequence[Pair]) -> None:
        """Go on in the next stage: new queries and pairs; the NLU side speaks the new words at once."""
        self.domain = domain
        self.unlabelled = [*self.unlabelled, *unlabelled]
        self.labelled = [*still_programs(self.labelled, domain), *labelled]
        self.nlu = NluSynthesizer(domain, self.data.learnt())

    def round(self, steps: int, *, report: Callable[[int, float], None] | None = None) -> None:
        """Take one turn of the circle: label, train, share."""
        readings = ((query, self.nlu.read(query)) for query in self.unlabelled)
        self.pseudo = [Pair(query, each.programs[0].program) for query, each in readings if each.certain]
        self.data.train(self.labelled, self.pseudo, steps=steps, report=report)
        self.nlu = NluSynthesizer(self.domain, self.data.learnt())

    def answer(self, query: str, written: Call | None) -> Call | None:
        """Return the program of both: the NLU side's best; the model decides among programs that rank alike.

        Args:
            query: The query.
            written: The program that the model has written, if it is one; taken where the NLU side has none.
        """
        reading = self.nlu.read(query)
        if not reading.programs or written in reading.tied:
            return written
        return reading.programs[0].program


def still_programs(pairs: Sequence[Pair], domain: Domain) -> list[Pair]:
    """Return the pairs whose programs are programs of this stage; arguments may have changed."""
    kept = []
    for pair in pairs:
        try:
            domain.grammar.parse(pair.program.tokens(), domain.file.literals)
        except ProgramError:
            continue
        kept.append(pair)
    return kept
