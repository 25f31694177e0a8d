"""A model in the draft's role, and its sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from paceline.backends.torch.logits import measure
from paceline.backends.torch.sampling import DeviceProposal
from paceline.backends.torch.sequence import Stream
from paceline.backends.torch.tokenizers import HfCodec
from paceline.core.proposals import TokenProposal
from paceline.core.records import SIGNALS, TokenSignals

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from paceline.backends.torch.engine import Model
    from paceline.backends.torch.sampling import Sampler
    from paceline.core.protocols import DraftControl, Proposal
    from paceline.core.records import Signal
    from paceline.core.sampling import Sampling


class ModelDraft:
    """A causal language model that proposes its own continuation, greedily or drawn.

    Args:
        engine: What computes it.
        tokenizer: Its tokenizer, if it should be compared with the target's.
        vocabulary: Propose only tokens below this: the target's `vocabulary`, where it is the smaller one.
    """

    def __init__(self, engine: Model, tokenizer: Any = None, *, vocabulary: int | None = None) -> None:
        self.engine = engine
        self.codec = None if tokenizer is None else HfCodec(tokenizer)
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

    def open(self, prompt: Sequence[int]) -> HfDraftSession:
        """Start a request; nothing is read before the first `draft`."""
        return HfDraftSession(Stream(self.engine, prompt), self.vocabulary)

    def open_sampled(self, prompt: Sequence[int], sampling: Sampling) -> HfDraftSession:
        """Start a request whose tokens are drawn."""
        from paceline.backends.torch.draft import SampledHfDraft  # noqa: PLC0415 - built on this module
        from paceline.backends.torch.sampling import Sampler  # noqa: PLC0415

        sampler = Sampler(sampling, prompt, self.engine.device)
        return SampledHfDraft(Stream(self.engine, prompt), self.vocabulary, sampler)


class HfDraftSession:
    """The draft at work on one request.

    Args:
        stream: Its state.
        vocabulary: Only tokens below this are proposed.
    """

    memoryless = True

    def __init__(self, stream: Stream, vocabulary: int) -> None:
        self.stream = stream
        self._vocabulary = vocabulary

    @property
    def lag(self) -> int:
        """Tokens of the context, its last one not counted, that the cache lacks."""
        return self.stream.ledger.lag

    def draft(self, gamma: int, control: DraftControl | None) -> Proposal:
        """Propose at most `gamma` tokens; none where the context is too long or unreadable for this model.

        Without `control` a chosen token is fed on without leaving the device; all are copied at the end, once.
        """
        gamma = min(gamma, self._room())
        if gamma < 1:
            return TokenProposal(())
        logits = self.stream.attempt()
        chosen: list[torch.Tensor] = []
        seen: list[TokenSignals] = []
        while True:
            token, scores = self._choose(logits, chosen)
            chosen.append(token)
            if control is not None:
                seen.append(measure(scores[0], token[0], len(seen), control.signals))
                if not _goes_on(control, seen[-1]):
                    break
            if len(chosen) == gamma:
                break
            logits = self.stream.extend(token)
        tokens = torch.cat(chosen).flatten().tolist()
        self.stream.ledger.reveal(tokens[:-1])
        return self._propose(tuple(tokens), tuple(seen))

    def score(self, tokens: Sequence[int]) -> list[float]:
        """Return how probable each of `tokens` is as the choice of this model there; reads the context."""
        if self._room() < len(tokens) or max(tokens) >= self.stream.vocabulary:
            return [0.0] * len(tokens)
        return self._shares(self.stream.attempt(tokens[:-1]), tokens)

    def _choose(
        self, logits: torch.Tensor, chosen: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the token after those chosen, shape (1, 1), and the scores behind it, shape (1, vocabulary)."""
        scores = logits[:, : self._vocabulary].float()
        return scores.argmax(dim=-1, keepdim=True), scores

    def _propose(self, tokens: tuple[int, ...], signals: tuple[TokenSignals, ...]) -> Proposal:
        return TokenProposal(tokens, signals)

    def _shares(self, logits: torch.Tensor, tokens: Sequence[int]) -> list[float]:
        chosen = logits[:, : self._vocabulary].float().argmax(dim=-1).tolist()
        return [float(own == token) for own, token in zip(chosen, tokens, strict=True)]

    def _room(self) -> int:
        """The most tokens that can be drafted: positions left, or 0 after a token that the model does not know."""
        stream, longest = self.stream, self.stream.engine.max_context
        if max(stream.ledger.tail) >= stream.vocabulary:
            return 0
        # The last drafted token is never fed, so it needs no position.
        left = int(1e9) if longest is None else longest - stream.ledger.context + 1
        return left if stream.room is None else min(left, stream.room + 1)

    def logits(self) -> torch.Tensor:
        """Return the logits of the next token, shape (vocabulary,); for tests and tools."""
        return self.stream.attempt()[-1]

    def advance(self, tokens: Sequence[int]) -> None:
        """Take in the tokens a round delivered, and forget whatever else was tried."""
        self.stream.advance(tokens)

    def close(self) -> None:
        """Free what this request held."""
        self.stream.close()


def _goes_on(control: DraftControl, signals: TokenSignals) -> bool:
    """Ask the declared rule first, then the callback."""
    if control.stop is not None and control.stop.stops(signals):
        return False
    return control.keep_drafting is None or control.keep_drafting(signals)


class SampledHfDraft(HfDraftSession):
    """The draft at work, drawing."""

    def __init__(self, stream: Stream, vocabulary: int, sampler: Sampler) -> None:
        super().__init__(stream, vocabulary)
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
        self._drawn_from.append(self._sampler.chances(scores))
        return self._sampler.draw(self._drawn_from[-1]), scores

    def _propose(self, tokens: tuple[int, ...], signals: tuple[TokenSignals, ...]) -> Proposal:
        chances, self._drawn_from = torch.cat(self._drawn_from), []
        return DeviceProposal(tokens, chances, signals)

    def _shares(self, logits: torch.Tensor, tokens: Sequence[int]) -> list[float]:
        return self._sampler.shares(logits, tokens, self._vocabulary)
