"""A GGUF model in the target's role, and its sessions."""

from __future__ import annotations

import math
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import numpy as np

from paceline import BackendError, PrefixReuse, rejection_sample, verify_greedy
from paceline_llamacpp.codec import codec_of
from paceline_llamacpp.engine import CHUNK
from paceline_llamacpp.library import BACKEND, CAPABILITIES
from paceline_llamacpp.sampling import Sampler, draft_probs_of, residual
from paceline_llamacpp.sequence import ModelSession, SequenceState

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from paceline import Proposal, Sampling, TokenVerdict
    from paceline_llamacpp.engine import Engine


class LlamaCppTarget(PrefixReuse["Engine"]):
    """A GGUF model whose output is wanted, greedily or drawn.

    Args:
        engine: The model at work.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.codec = codec_of(engine.model)
        self.capabilities = CAPABILITIES
        self.vocabulary = engine.vocabulary
        self.eos = engine.model.eos
        self.max_context = engine.max_context

    @property
    def identity(self) -> str:
        """Model, number formats, threads and device."""
        return self.engine.identity

    def gap(self, context: Sequence[int], left: int, right: int) -> float:
        """Return how far apart the logits of two candidates for the next token are, in one pass over the context.

        Where two runs of a model in short floats differ, this tells a near-tie from an error.
        """
        session = self.open(context)
        try:
            logits = session.logits()
        finally:
            session.close()
        return abs(float(logits[left] - logits[right]))

    def perplexity(self, prompt: Sequence[int]) -> float | None:
        """Return exp of the mean negative log probability of the tokens after the first; None for a single token.

        Reads the prompt once more, in a sequence of its own.
        """
        if len(prompt) < 2:
            return None
        sequence, total = self.engine.take(self.prefixes), 0.0
        try:
            for begin in range(0, len(prompt) - 1, CHUNK):
                fed, followed = prompt[begin : begin + CHUNK], prompt[begin + 1 : begin + CHUNK + 1]
                logits = self.engine.feed(sequence, begin, fed, len(fed))[: len(followed)].astype(np.float64)
                largest = logits.max(axis=1)
                sums = np.log(np.exp(logits - largest[:, None]).sum(axis=1)) + largest
                total += float((sums - logits[np.arange(len(followed)), followed]).sum())
        finally:
            self.engine.free(sequence)
        return math.exp(total / (len(prompt) - 1))

    def open(self, prompt: Sequence[int]) -> TargetModelSession:
        """Start a request by reading all of the prompt but its last token.

        Raises:
            BackendError: The prompt is empty, too long, or holds a number that is no token.
        """
        self._check(prompt)
        return TargetModelSession(SequenceState(self.engine, prompt, self.prefixes))

    def open_sampled(self, prompt: Sequence[int], sampling: Sampling) -> TargetModelSession:
        """Start a request whose tokens are drawn; like `open` otherwise."""
        self._check(prompt)
        return SampledTargetSession(
            SequenceState(self.engine, prompt, self.prefixes), Sampler(sampling, prompt)
        )

    def _check(self, prompt: Sequence[int]) -> None:
        if len(prompt) > self.max_context:
            raise BackendError(
                f"{BACKEND}: the prompt has {len(prompt)} tokens, and {self.engine.name} has room for "
                f"{self.max_context}; shorten it, or set `context` higher"
            )
        wrong = next((token for token in prompt if not 0 <= token < self.vocabulary), None)
        if wrong is not None:
            raise BackendError(
                f"{BACKEND}: {wrong} in the prompt is no token of {self.engine.name}; tokens are 0 to "
                f"{self.vocabulary - 1}"
            )


class TargetModelSession(ModelSession):
    """The target at work on one request."""

    def __init__(self, sequence: SequenceState) -> None:
        super().__init__(sequence)
        try:
            sequence.catch_up(1)
        except BaseException:
            sequence.close()
            raise

    def verify(self, proposal: Proposal | None) -> TokenVerdict:
        """Compare a proposal with the target's own choices, in one forward pass.

        Raises:
            BackendError: The pass failed, or the model's logits are no numbers.
        """
        guess = self._readable(proposal)
        logits = self.sequence.attempt(guess)
        chosen = logits.argmax(axis=1)
        if not np.isfinite(logits[np.arange(len(chosen)), chosen]).all():
            raise self._not_finite()
        return verify_greedy(guess, chosen.tolist())

    def _readable(self, proposal: Proposal | None) -> tuple[int, ...]:
        """Return what can be fed in one pass: a token that is none of the target's ends a proposal."""
        if proposal is None:
            return ()
        engine = self.sequence.engine
        room = min(engine.longest, engine.max_context + 1 - self.sequence.tracker.context) - 1
        return tuple(takewhile(lambda token: 0 <= token < engine.vocabulary, proposal.tokens[: max(0, room)]))

    def _not_finite(self) -> BackendError:
        return BackendError(
            f"{BACKEND}: the logits of {self.sequence.engine.name} are NaN or infinite: its weights are damaged. Copy "
            "the file again"
        )


class SampledTargetSession(TargetModelSession):
    """The target at work, drawing."""

    def __init__(self, sequence: SequenceState, sampler: Sampler) -> None:
        super().__init__(sequence)
        self._sampler = sampler

    def verify(self, proposal: Proposal | None) -> TokenVerdict:
        """Accept or refuse drawn tokens and draw one more, in one forward pass.

        Raises:
            BackendError: As for the greedy target.
        """
        guess = self._readable(proposal)
        rows = self._target_probs(self.sequence.attempt(guess), guess)
        return rejection_sample(
            guess, draft_probs_of(proposal), rows, self._sampler.rng, residual_of=residual
        )

    def score(self, tokens: Sequence[int]) -> list[float]:
        """Return how probable it is that each of `tokens` is drawn after those before it."""
        return self._sampler.token_probs(self.sequence.attempt(tokens[:-1]), tokens)

    def advance(self, tokens: Sequence[int]) -> None:
        """Take in the tokens a round delivered, and forget whatever else was tried."""
        super().advance(tokens)
        self._sampler.advance(tokens)

    def _target_probs(self, logits: NDArray[np.float32], guess: Sequence[int]) -> Iterator[Any]:
        """Yield the distribution at each place as an array, worked out when it is asked for."""
        for place, row in enumerate(logits):
            probs = self._sampler.probs(self._sampler.process(row, guess[:place]))
            if not math.isfinite(probs[0]):
                raise self._not_finite()
            yield probs
