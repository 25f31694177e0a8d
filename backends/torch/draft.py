"""A model in the draft's role, and its sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from paceline.backends.torch.engine import unshared
from paceline.backends.torch.logits import token_signals
from paceline.backends.torch.passes import Reading, run, run_together
from paceline.backends.torch.sampling import DeviceProposal, Sampler
from paceline.backends.torch.sequence import ModelSession, SequenceState
from paceline.backends.torch.tokenizers import TokenizerCodec
from paceline.core.prefixes import PrefixReuse
from paceline.core.proposals import TokenProposal
from paceline.core.records import SIGNALS, TokenSignals

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from paceline.backends.torch.engine import Engine
    from paceline.backends.torch.passes import Steps
    from paceline.core.protocols import DraftControl, Proposal
    from paceline.core.records import Signal
    from paceline.core.sampling import Sampling


class DraftModel(PrefixReuse["Engine"]):
    """A causal language model that proposes its own continuation, greedily or drawn.

    Args:
        engine: What computes it.
        tokenizer: Its tokenizer, if it should be compared with the target's.
        vocabulary: Propose only tokens below this: the target's `vocabulary`, where it is the smaller one.
    """

    def __init__(self, engine: Engine, tokenizer: Any = None, *, vocabulary: int | None = None) -> None:
        self.engine = engine
        self.codec = None if tokenizer is None else TokenizerCodec(tokenizer)
        self._limit = vocabulary

    @property
    def vocabulary(self) -> int:
        """Only tokens below this are proposed."""
        own = self.engine.vocabulary
        return own if self._limit is None else min(own, self._limit)

    @property
    def identity(self) -> str:
        """Name, version, number format and kind of device."""
        return self.engine.identity

    @property
    def signals(self) -> frozenset[Signal]:
        """The signals its sessions can compute: all of them."""
        return SIGNALS

    def open(self, prompt: Sequence[int]) -> DraftModelSession:
        """Start a request; nothing is read before the first `draft`."""
        return DraftModelSession(self._sequence(prompt), self.vocabulary)

    def open_sampled(self, prompt: Sequence[int], sampling: Sampling) -> DraftModelSession:
        """Start a request whose tokens are drawn."""
        sampler = Sampler(sampling, prompt, self.engine.device)
        return SampledDraftSession(self._sequence(prompt), self.vocabulary, sampler)

    def _sequence(self, prompt: Sequence[int]) -> SequenceState:
        return SequenceState(
            self.engine, known_tokens(prompt, self.engine.vocabulary), prefixes=self.prefixes
        )

    @property
    def shares_passes(self) -> bool:
        """True if `draft_batch` drafts a token for all in one pass, and not one after the other."""
        return unshared(self.engine) is None

    def draft_batch(
        self,
        sessions: Sequence[DraftModelSession],
        gammas: Sequence[int],
        controls: Sequence[DraftControl | None],
    ) -> list[Proposal | BaseException]:
        """Draft for each of several sessions: see `BatchDraft`."""
        rows = zip(sessions, gammas, controls, strict=True)
        return run_together([session.drafting(gamma, control) for session, gamma, control in rows])


class DraftModelSession(ModelSession):
    """The draft at work on one request.

    Args:
        sequence: Its state.
        vocabulary: Only tokens below this are proposed.
    """

    memoryless = True

    def __init__(self, sequence: SequenceState, vocabulary: int) -> None:
        super().__init__(sequence)
        self._vocabulary = vocabulary

    def advance(self, tokens: Sequence[int]) -> None:
        """Take in the tokens a round delivered, and forget whatever else was tried."""
        super().advance(known_tokens(tokens, self.sequence.vocabulary))

    @property
    def lag(self) -> int:
        """Tokens of the context, its last one not counted, that the cache lacks."""
        return self.sequence.tracker.lag

    def draft(self, gamma: int, control: DraftControl | None) -> Proposal:
        """Propose at most `gamma` tokens; none where the context is too long for this model.

        Without `control` a chosen token is fed on without leaving the device; all are copied at the end, once.
        """
        return run(self.drafting(gamma, control))

    def drafting(self, gamma: int, control: DraftControl | None) -> Steps[Proposal]:
        """Do as `draft`, for whoever runs the passes."""
        gamma = min(gamma, self._room())
        if gamma < 1:
            return TokenProposal(())
        logits = yield from self.sequence.attempting()
        chosen: list[torch.Tensor] = []
        seen: list[TokenSignals] = []
        while True:
            token, scores = self._choose(logits, chosen)
            chosen.append(token)
            if control is not None:
                seen.append(token_signals(scores[0], token[0], len(seen), control.signals))
                if not _goes_on(control, seen[-1]):
                    break
            if len(chosen) == gamma:
                break
            logits = yield from self.sequence.extending(token)
        tokens: list[int] = yield Reading(torch.cat(chosen).flatten())
        self.sequence.tracker.reveal(tokens[:-1])
        return self._propose(tuple(tokens), tuple(seen))

    def score(self, tokens: Sequence[int]) -> list[float]:
        """Return how probable each of `tokens` is as the choice of this model there; reads the context."""
        if self._room() < len(tokens) or max(tokens) >= self.sequence.vocabulary:
            return [0.0] * len(tokens)
        return self._token_probs(self.sequence.attempt(tokens[:-1]), tokens)

    def _choose(
        self, logits: torch.Tensor, chosen: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the token after those chosen, shape (1, 1), and the scores behind it, shape (1, vocabulary)."""
        scores = logits[:, : self._vocabulary].float()
        return scores.argmax(dim=-1, keepdim=True), scores

    def _propose(self, tokens: tuple[int, ...], signals: tuple[TokenSignals, ...]) -> Proposal:
        return TokenProposal(tokens, signals)

    def _token_probs(self, logits: torch.Tensor, tokens: Sequence[int]) -> list[float]:
        chosen = logits[:, : self._vocabulary].float().argmax(dim=-1).tolist()
        return [float(own == token) for own, token in zip(chosen, tokens, strict=True)]

    def _room(self) -> int:
        """The most tokens that can be drafted: positions left."""
        sequence, longest = self.sequence, self.sequence.engine.max_context
        # The last drafted token is never fed, so it needs no position.
        left = int(1e9) if longest is None else longest - sequence.tracker.context + 1
        return left if sequence.room is None else min(left, sequence.room + 1)


def known_tokens(tokens: Sequence[int], vocabulary: int) -> Sequence[int]:
    """Return the tokens as a draft reads them: those that it lacks as the last one that it has.

    A draft with a smaller vocabulary than its target so goes on after a token that it does not know.
    """
    if tokens and max(tokens) >= vocabulary:
        return [min(token, vocabulary - 1) for token in tokens]
    return tokens


def _goes_on(control: DraftControl, signals: TokenSignals) -> bool:
    """Ask the declared rule first, then the callback."""
    if control.stop is not None and control.stop.stops(signals):
        return False
    return control.keep_drafting is None or control.keep_drafting(signals)


class SampledDraftSession(DraftModelSession):
    """The draft at work, drawing."""

    def __init__(self, sequence: SequenceState, vocabulary: int, sampler: Sampler) -> None:
        super().__init__(sequence, vocabulary)
        self._sampler = sampler
        self._drawn_from: list[torch.Tensor] = []

    def advance(self, tokens: Sequence[int]) -> None:
        """Take in the tokens a round delivered, and forget whatever else was tried."""
        super().advance(tokens)
        self._sampler.advance(tokens)

    def _choose(
        self, logits: torch.Tensor, chosen: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        scores = self._sampler.process(logits, chosen, self._vocabulary)
        self._drawn_from.append(self._sampler.probs(scores))
        return self._sampler.draw(self._drawn_from[-1]), scores

    def _propose(self, tokens: tuple[int, ...], signals: tuple[TokenSignals, ...]) -> Proposal:
        draft_probs, self._drawn_from = torch.cat(self._drawn_from), []
        return DeviceProposal(tokens, draft_probs, signals)

    def _token_probs(self, logits: torch.Tensor, tokens: Sequence[int]) -> list[float]:
        return self._sampler.token_probs(logits, tokens, self._vocabulary)
