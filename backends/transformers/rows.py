"""One row of a batch: the target and the drafts as `generate` has prepared them for it, and what it kept of scores.

Processors and criteria see the row with its padding, as in `generate`; the models see it without.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from paceline.backends.torch.draft import DraftModel, SampledDraftSession
from paceline.backends.torch.sampling import Sampler, draft_probs_of, rejection_sample
from paceline.backends.torch.sequence import SequenceState
from paceline.backends.torch.target import TargetModel, TargetModelSession, readable
from paceline.backends.transformers.processors import RowProcessors
from paceline.core.errors import BackendError
from paceline.core.proposals import TokenVerdict

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from paceline.backends.torch.engine import Cache
    from paceline.backends.torch.passes import Steps
    from paceline.core.protocols import Draft, DraftSession, Proposal, TargetSession
    from paceline.core.records import Capabilities, Signal
    from paceline.core.sampling import Sampling


class ScoreRecord:
    """Keeps one row of scores, or logits, or both, for each token delivered.

    Args:
        kinds: "scores" keeps what tokens were chosen by, after all processors; "logits" what the model said.
    """

    def __init__(self, kinds: Collection[str]) -> None:
        self._kinds = kinds
        self._kept: dict[str, list[torch.Tensor]] = {"scores": [], "logits": []}
        self._offered: dict[str, list[torch.Tensor]] = {"scores": [], "logits": []}

    def kept(self, kind: str) -> list[torch.Tensor]:
        """Return what was kept of each token delivered, float32, shape (1, vocabulary)."""
        return self._kept[kind]

    def offer(self, kind: str, rows: torch.Tensor) -> None:
        """Note rows of a round before it is known which of its tokens are delivered; a copy is kept."""
        if kind in self._kinds:
            self._offered[kind].extend(rows[i : i + 1].to(torch.float32, copy=True) for i in range(len(rows)))

    def settle(self, count: int) -> None:
        """Keep the first `count` rows of the round."""
        for kind, rows in self._offered.items():
            self._kept[kind].extend(row.clone() for row in rows[:count])
            rows.clear()

    def scores_until(self, length: int) -> tuple[torch.Tensor, ...] | None:
        """Return the scores of the first `length` tokens, those of the round under way included."""
        if "scores" not in self._kinds:
            return None
        return tuple([*self._kept["scores"], *self._offered["scores"]][:length])


@dataclass(frozen=True, slots=True)
class Row:
    """Choice of the tokens of one row.

    Attributes:
        padding: What stands before its first token.
        processors: The processors.
        sampling: The seed, and whether the likeliest token is taken.
        device: Where `generate` has put its processors and its tokens.
        record: Where scores and logits are kept, if they are wanted.
        cache: A cache to go on with, of the engine that decodes it, if one was given.
    """

    padding: tuple[int, ...]
    processors: RowProcessors
    sampling: Sampling
    device: torch.device
    record: ScoreRecord | None = None
    cache: Cache | None = None

    @property
    def plain(self) -> bool:
        """True if the model's own likeliest tokens are all that is wanted."""
        return self.sampling.greedy and not self.processors and self.record is None


class RowTarget:
    """The target, opening sessions for one row."""

    codec = None
    max_context = None  # `generate` warns and goes on

    def __init__(self, target: TargetModel, row: Row, eos: frozenset[int]) -> None:
        self._target = target
        self._row = row
        self.eos = eos
        self.vocabulary = target.vocabulary
        # Processors and records follow chains.
        able = target.capabilities
        self.capabilities: Capabilities = able if row.plain else replace(able, nodes=0)
        self.perplexity = target.perplexity

    def open(self, prompt: Sequence[int]) -> TargetSession:
        """Start on the row by reading all of it but its last token, or what a given cache lacks of that."""
        row, engine = self._row, self._target.engine
        sequence = SequenceState(engine, prompt, row.cache)
        if row.plain:
            return TargetModelSession(sequence)
        text = (*row.padding, *prompt)
        sampler = Sampler(row.sampling.of("target"), text, row.device, processors=row.processors)
        return RowSession(sequence, sampler, row, self.eos)


class RowDraft:
    """A draft, opening sessions for one row. One of this backend applies the row's processors where it may."""

    def __init__(self, name: str, draft: Draft, row: Row, vocabulary: int) -> None:
        self._name = name
        self._draft = draft
        self._row = row
        self._columns = vocabulary
        self.signals: frozenset[Signal] = draft.signals

    def open(self, prompt: Sequence[int]) -> DraftSession:
        """Start on the row."""
        draft, row = self._draft, self._row
        if not isinstance(draft, DraftModel):
            return draft.open(prompt)
        engine = draft.engine
        # Elsewhere, the tensors that processors hold cannot be used; the draft then guesses without them.
        processors = row.processors.for_guesses() if engine.device == row.device else RowProcessors()
        if row.sampling.greedy and not processors:
            return draft.open(prompt)
        sampling, text = row.sampling.of(f"draft {self._name}"), (*row.padding, *prompt)
        sampler = Sampler(sampling, text, engine.device, processors=processors, columns=self._columns)
        return SampledDraftSession(SequenceState(engine, prompt), draft.vocabulary, sampler)


class RowSession(TargetModelSession):
    """The target at work on one row, with processors, drawn tokens or a record."""

    def __init__(self, sequence: SequenceState, sampler: Sampler, row: Row, eos: frozenset[int]) -> None:
        super().__init__(sequence)
        self._sampler = sampler
        self._row = row
        self._eos = eos

    def verifying(self, proposal: Proposal | None) -> Steps[TokenVerdict]:
        """Accept or refuse tokens and choose one more."""
        guess = readable(proposal, self.sequence)
        logits = yield from self.sequence.attempting(guess)
        if self._row.processors.ordered:
            verdict = self._in_order(proposal, guess, logits)
        else:
            target_probs = self._probs(logits, guess)
            draft_probs = draft_probs_of(proposal, target_probs)
            verdict = rejection_sample(
                guess, None if draft_probs is None else draft_probs[: len(guess)], target_probs, self._sampler
            )
        if verdict.tokens[-1] >= logits.shape[1]:
            # Drawn among probabilities that are NaN; on other devices than the CPU it is some token.
            raise BackendError(
                "hf: there is no token to draw: all scores are minus infinity, or some are NaN; let the processors "
                "given to generate leave at least one token"
            )
        return verdict

    def advance(self, tokens: Sequence[int]) -> None:
        """Take in the tokens a round delivered, and forget whatever else was tried."""
        super().advance(tokens)
        self._sampler.advance(tokens)
        if self._row.record is not None:
            self._row.record.settle(len(tokens))

    def _in_order(
        self, proposal: Proposal | None, guess: tuple[int, ...], logits: torch.Tensor
    ) -> TokenVerdict:
        """Judge token by token, so that processors see the text grow exactly as in `generate`.

        They are not asked about what follows a refusal, or the end of the text. Costs a copy from the device a token.
        """
        for place, token in enumerate(guess):
            target_probs = self._probs(logits[place : place + 1], guess[:place])
            draft_probs = draft_probs_of(proposal, target_probs)
            draft_row = None if draft_probs is None else draft_probs[place : place + 1]
            verdict = rejection_sample(
                [token], draft_row, torch.cat([target_probs, target_probs]), self._sampler
            )
            if not verdict.accepted or token in self._eos:
                return TokenVerdict(place, (*guess[:place], verdict.tokens[0]))
        target_probs = self._probs(logits[-1:], guess)
        return TokenVerdict(len(guess), (*guess, int(self._sampler.draw(target_probs))))

    def _probs(self, logits: torch.Tensor, guess: Sequence[int]) -> torch.Tensor:
        """Return the distributions after processing; the last row of logits is about the token after the guess."""
        record = self._row.record
        if record is not None:
            record.offer("logits", logits)
        scores = self._sampler.process(logits, [self._sampler.tokens(guess)], logits.shape[1])
        if record is not None:
            record.offer("scores", scores)
        return self._sampler.probs(scores)
