"""A GGUF model in the draft's role, and its sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline import SIGNALS, PrefixReuse, SampledProposal, TokenProposal
from paceline_llamacpp.codec import codec_of
from paceline_llamacpp.sampling import Sampler, token_signals
from paceline_llamacpp.sequence import ModelSession, SequenceState

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray

    from paceline import DraftControl, Proposal, Sampling, Signal, TokenSignals
    from paceline_llamacpp.engine import Engine


class LlamaCppDraft(PrefixReuse["Engine"]):
    """A GGUF model that proposes its own continuation, greedily or drawn.

    Args:
        engine: The model at work.
        vocabulary: Propose only tokens below this: the target's `vocabulary`, where it is the smaller one.
    """

    def __init__(self, engine: Engine, *, vocabulary: int) -> None:
        self.engine = engine
        self.codec = codec_of(engine.model)
        self.vocabulary = min(engine.vocabulary, vocabulary)

    @property
    def identity(self) -> str:
        """Model, number formats, threads and device."""
        return self.engine.identity

    @property
    def signals(self) -> frozenset[Signal]:
        """The signals its sessions can compute: all of them."""
        return SIGNALS

    def open(self, prompt: Sequence[int]) -> DraftModelSession:
        """Start a request; nothing is read before the first `draft`."""
        return DraftModelSession(SequenceState(self.engine, prompt, self.prefixes), self.vocabulary)

    def open_sampled(self, prompt: Sequence[int], sampling: Sampling) -> DraftModelSession:
        """Start a request whose tokens are drawn."""
        return SampledDraftSession(
            SequenceState(self.engine, prompt, self.prefixes), self.vocabulary, Sampler(sampling, prompt)
        )


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

    @property
    def lag(self) -> int:
        """Tokens of the context, its last one not counted, that the cache lacks."""
        return self.sequence.tracker.lag

    def draft(self, gamma: int, control: DraftControl | None) -> Proposal:
        """Propose at most `gamma` tokens; none where the context is too long or unreadable for this model."""
        gamma = min(gamma, self._room())
        if gamma < 1:
            return TokenProposal(())
        logits = self.sequence.attempt()[-1]
        chosen: list[int] = []
        seen: list[TokenSignals] = []
        while True:
            token, scores = self._choose(logits[: self._vocabulary], chosen)
            chosen.append(token)
            if control is not None:
                seen.append(token_signals(scores, token, len(seen), control.signals))
                if not control.goes_on(seen[-1]):
                    break
            if len(chosen) == gamma:
                break
            logits = self.sequence.extend(token)[-1]
        self.sequence.tracker.reveal(chosen[:-1])
        return self._propose(tuple(chosen), tuple(seen))

    def score(self, tokens: Sequence[int]) -> list[float]:
        """Return how probable each of `tokens` is as the choice of this model there; reads the context."""
        if self._room() < len(tokens) or max(tokens) >= self.sequence.engine.vocabulary:
            return [0.0] * len(tokens)
        return self._token_probs(self.sequence.attempt(tokens[:-1])[:, : self._vocabulary], tokens)

    def _choose(self, logits: NDArray[np.float32], chosen: Sequence[int]) -> tuple[int, NDArray[Any]]:
        """Return the token after those chosen, and the scores behind it."""
        return int(logits.argmax()), logits

    def _propose(self, tokens: tuple[int, ...], signals: tuple[TokenSignals, ...]) -> Proposal:
        return TokenProposal(tokens, signals)

    def _token_probs(self, logits: NDArray[np.float32], tokens: Sequence[int]) -> list[float]:
        own = logits.argmax(axis=1).tolist()
        return [float(choice == token) for choice, token in zip(own, tokens, strict=True)]

    def _room(self) -> int:
        """The most tokens that can be drafted: positions left, or 0 after a token that the model does not know."""
        engine, tracker = self.sequence.engine, self.sequence.tracker
        if max(tracker.tail) >= engine.vocabulary:
            return 0
        # The last drafted token is never fed, so it needs no position.
        return min(engine.longest - 1, engine.max_context - tracker.context + 1)


class SampledDraftSession(DraftModelSession):
    """The draft at work, drawing."""

    def __init__(self, sequence: SequenceState, vocabulary: int, sampler: Sampler) -> None:
        super().__init__(sequence, vocabulary)
        self._sampler = sampler
        self._drawn_from: list[Any] = []  # arrays, of which is read what a sequence has

    def advance(self, tokens: Sequence[int]) -> None:
        """Take in the tokens a round delivered, and forget whatever else was tried."""
        super().advance(tokens)
        self._sampler.advance(tokens)

    def _choose(self, logits: NDArray[np.float32], chosen: Sequence[int]) -> tuple[int, NDArray[Any]]:
        scores = self._sampler.process(logits, chosen)
        probs = self._sampler.probs(scores)
        self._drawn_from.append(probs)
        return self._sampler.rng.draw(probs), scores

    def _propose(self, tokens: tuple[int, ...], signals: tuple[TokenSignals, ...]) -> Proposal:
        drawn_from, self._drawn_from = tuple(self._drawn_from), []
        return SampledProposal(tokens, drawn_from, signals)

    def _token_probs(self, logits: NDArray[np.float32], tokens: Sequence[int]) -> list[float]:
        return self._sampler.token_probs(logits, tokens)
