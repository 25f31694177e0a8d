"""The NLU-driven synthesizer as a draft: it proposes its program, token by token, for the model to verify.

A prompt is a query and `=>`; what follows is the program. While the model writes a program that the synthesizer has
among its own, the rest of that one is proposed; after it has left them, whatever follows the same last tokens in the
best one, as prompt lookup does. The length of the match that a policy is told says how sure this is.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field

from paceline import (
    BackendConfig,
    BackendError,
    Codec,
    DraftControl,
    Readiness,
    Role,
    RunConfig,
    Signal,
    Target,
    TokenProposal,
)
from paceline_colead.domain import DOMAINS, Domain
from paceline_colead.errors import GrammarError
from paceline_colead.nlu import NluSynthesizer

SEPARATOR = "=>"

CERTAIN, LIKELY, OTHER = 16, 8, 4
"""Match lengths of the best program if the synthesizer is sure of it, if not, and of its further programs.

Policies learn acceptance apart for lengths of 1, 2 to 3, 4 to 7, and so on, so that each of these is learnt for itself.
"""

LONGEST_OVERLAP = 3
"""After the model has left all programs, so many last tokens are looked up in the best one, or 2, or 1."""

PROGRAMS = 4
"""As many of the synthesizer's programs are tried."""


class NluDraftConfig(BackendConfig):
    """A draft without a model: the program that the documentation of a command language makes of the query."""

    roles: ClassVar[frozenset[Role]] = frozenset({"draft"})

    backend: Literal["colead"] = "colead"
    domain: str = Field(default="editing", description="The command language; or a folder with your own.")
    stage: int | None = Field(
        default=None, ge=1, description="How far it has grown; by default as far as it goes."
    )

    def check_draft(self, run: RunConfig, target: Readiness) -> Readiness:
        """Tell whether the domain can be read; it fits every target with a tokenizer."""
        del run
        try:
            self.load_domain()
        except GrammarError as error:
            return Readiness((str(error),))
        return (
            Readiness((_NO_CODEC,)) if target.vocabulary is not None and target.codec is None else Readiness()
        )

    @classmethod
    def smallest(cls, folder: Path) -> Self:
        """Return the first stage of the first domain."""
        del folder
        return cls(stage=1)

    def build_draft(self, target: Target) -> NluDraft:
        """Return the draft.

        Raises:
            BackendError: The target has no tokenizer.
            GrammarError: The domain cannot be read.
        """
        return NluDraft(NluSynthesizer(self.load_domain()), target)

    def load_domain(self) -> Domain:
        """Read the domain."""
        if self.domain in DOMAINS:
            return Domain.load(self.domain, self.stage)
        folder = Path(self.domain)
        return Domain.load(folder.name, self.stage, folder=folder if folder.is_dir() else None)


_NO_CODEC = "colead: the draft reads queries and writes programs as text; it needs a target with a tokenizer"


class NluDraft:
    """Opens a session for each request, which reads the query of its prompt.

    Args:
        synthesizer: Makes the programs.
        target: Its tokenizer writes them.

    Raises:
        BackendError: The target has no tokenizer.
    """

    signals: frozenset[Signal] = frozenset()

    def __init__(self, synthesizer: NluSynthesizer, target: Target) -> None:
        if target.codec is None:
            raise BackendError(_NO_CODEC)
        self._codec: Codec = target.codec
        self._synthesizer = synthesizer
        self._end = (min(target.eos),) if target.eos else ()
        self._separator = tuple(self._codec.encode(SEPARATOR))
        self.written = lru_cache(maxsize=256)(self._written)

    @property
    def identity(self) -> str:
        """The domain and its stage."""
        return f"colead, {self._synthesizer.domain.name} at stage {self._synthesizer.domain.stage}"

    def open(self, prompt: Sequence[int]) -> NluDraftSession:
        """Read the query of the prompt."""
        return NluDraftSession(self, prompt)

    def query_end(self, context: Sequence[int]) -> int | None:
        """Return the place after the first separator, where the program begins."""
        width = len(self._separator)
        for at in range(len(context) - width + 1):
            if tuple(context[at : at + width]) == self._separator:
                return at + width
        return None

    def _written(self, query: tuple[int, ...]) -> tuple[tuple[tuple[int, ...], ...], bool]:
        """Return the tokens of the best programs for a query, and whether the synthesizer is sure of the first."""
        reading = self._synthesizer.read(self._codec.decode(query[: -len(self._separator)]))
        programs = tuple(
            (*self._codec.encode(str(ranked.program)), *self._end) for ranked in reading.programs[:PROGRAMS]
        )
        return programs, reading.certain


class NluDraftSession:
    """One request; a function of its context."""

    lag = 0

    def __init__(self, draft: NluDraft, prompt: Sequence[int]) -> None:
        self._draft = draft
        self._context = list(prompt)
        self._begin: int | None = None
        self._programs: tuple[tuple[int, ...], ...] = ()
        self._certain = False
        self._rest: tuple[tuple[int, ...], int] = ((), 0)
        self._look()

    @property
    def match_length(self) -> int:
        """Certainty of the proposal; 0: there is none."""
        return self._rest[1]

    def draft(self, gamma: int, control: DraftControl | None) -> TokenProposal:
        """Propose up to `gamma` tokens of the program, none where it is not known."""
        del control
        return TokenProposal(self._rest[0][:gamma])

    def advance(self, tokens: Sequence[int]) -> None:
        """Take in tokens that were delivered."""
        self._context += tokens
        self._look()

    def close(self) -> None:
        """Drop the programs."""
        self._programs = ()

    def _look(self) -> None:
        if self._begin is None:
            self._begin = self._draft.query_end(self._context)
            if self._begin is not None:
                self._programs, self._certain = self._draft.written(tuple(self._context[: self._begin]))
        self._rest = self._following()

    def _following(self) -> tuple[tuple[int, ...], int]:
        """Return the tokens to propose and how sure they are."""
        if not self._programs or self._begin is None:
            return (), 0
        emitted = tuple(self._context[self._begin :])
        for rank, program in enumerate(self._programs):
            if program[: len(emitted)] == emitted and len(emitted) < len(program):
                return program[len(emitted) :], OTHER if rank else CERTAIN if self._certain else LIKELY
        best = self._programs[0]
        for overlap in range(min(LONGEST_OVERLAP, len(emitted)), 0, -1):
            places = [at for at in range(overlap, len(best)) if best[at - overlap : at] == emitted[-overlap:]]
            if places:
                return best[min(places, key=lambda at: abs(at - len(emitted))) :], overlap
        return (), 0
