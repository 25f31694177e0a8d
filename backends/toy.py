"""A pure-Python pair of table models, for tests, documentation and trying out policies.

The target's likeliest token is a fixed function of the context's length and its last two tokens, so that its text does
not fall into loops. The draft agrees with it at a fixed share of contexts, so acceptance is known, and its signals tell
how sure it is. Nothing here is random at run time but what is drawn under `Sampling`.
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final, Literal, Self

from pydantic import Field

from paceline.core.config.blocks import BackendConfig, Readiness, Role
from paceline.core.errors import BackendError
from paceline.core.proposals import SampledProposal, TokenProposal, TokenVerdict
from paceline.core.protocols import Target
from paceline.core.records import SIGNALS, Capabilities, Signal, TokenSignals
from paceline.core.rejection_sampling import (
    Rng,
    SeededRng,
    probs_of,
    process_logits,
    rejection_sample,
    softmax,
)
from paceline.core.sampling import Sampling

if TYPE_CHECKING:
    from pathlib import Path

    from paceline.core.config.run import RunConfig
    from paceline.core.protocols import DraftControl, Proposal


@dataclass(slots=True)
class ToyTargetSession:
    """The target at work: all its state is the context."""

    model: ToyTarget
    context: list[int]

    def verify(self, proposal: Proposal | None) -> TokenVerdict:
        """Return the longest prefix the table agrees with, and the table's next token."""
        wait(self.model.step_s)
        tried = list(self.context)
        tokens: list[int] = []
        for token in proposal.tokens if proposal is not None else ():
            choice = self.model.next(tried)
            if token != choice:
                break
            tried.append(token)
            tokens.append(token)
        return TokenVerdict(len(tokens), (*tokens, self.model.next(tried)))

    def advance(self, tokens: Sequence[int]) -> None:
        """Take in the tokens a round delivered."""
        self.context.extend(tokens)

    def close(self) -> None:
        """Do nothing: there is nothing to free."""


class ToyDraftSession:
    """The draft at work; it lags as one with a cache would."""

    memoryless = True

    def __init__(self, model: ToyDraft, context: list[int]) -> None:
        self.lag = len(context) - 1
        self._model = model
        self._context = context
        self._ahead: int | None = (
            None  # draft tokens a cache would hold after this round; None: did not draft
        )

    def draft(self, gamma: int, control: DraftControl | None) -> Proposal:
        """Propose `gamma` tokens, fewer when `control` says so."""
        wait(self._model.step_s)
        tried = list(self._context)
        signals: list[TokenSignals] = []
        for position in range(gamma):
            token, about = self._choose(tried, position)
            tried.append(token)
            if control is None:
                continue
            signals.append(about)
            if control.stop is not None and control.stop.stops(signals[-1]):
                break
            if control.keep_drafting is not None and not control.keep_drafting(signals[-1]):
                break
        tokens = tuple(tried[len(self._context) :])
        self._ahead = len(tokens) - 1  # the last token drafted is not read by the draft itself
        return self._propose(tokens, tuple(signals))

    def score(self, tokens: Sequence[int]) -> list[float]:
        """Return for each of `tokens` how probable it is that this draft would have proposed it there."""
        self._ahead = len(tokens) - 1
        known = len(self._context)
        text = [*self._context, *tokens]
        return [self._share(text[: known + i], token) for i, token in enumerate(tokens)]

    def advance(self, tokens: Sequence[int]) -> None:
        """Take in the tokens a round delivered; those drafted and delivered need not be read again."""
        self._context.extend(tokens)
        if self._ahead is None:
            self.lag += len(tokens)
        else:
            self.lag = len(tokens) - 1 - min(self._ahead, len(tokens) - 1)
        self._ahead = None

    def close(self) -> None:
        """Do nothing: there is nothing to free."""

    def _choose(self, context: Sequence[int], position: int) -> tuple[int, TokenSignals]:
        """Return the token after `context`, and its signals."""
        token, top1 = self._model.guess(context)
        return token, TokenSignals(position, top1, top1, 2 * (1 - top1), 2 * top1 - 1, token)

    def _propose(self, tokens: tuple[int, ...], signals: tuple[TokenSignals, ...]) -> Proposal:
        return TokenProposal(tokens, signals)

    def _share(self, context: Sequence[int], token: int) -> float:
        return float(self._model.guess(context)[0] == token)


def wait(seconds: float) -> None:
    """Take as long as a forward pass of a real model would."""
    if seconds:
        time.sleep(seconds)


class SampledToyTarget(ToyTargetSession):
    """The target at work, drawing."""

    def __init__(self, model: ToyTarget, context: list[int], sampling: Sampling, rng: Rng) -> None:
        super().__init__(model, context)
        self._sampling = sampling
        self._rng = rng

    def verify(self, proposal: Proposal | None) -> TokenVerdict:
        """Accept or refuse drawn tokens, and draw one more; the text is distributed as the target's own draws."""
        wait(self.model.step_s)
        proposed = tuple(proposal.tokens) if proposal is not None else ()
        draft_probs = proposal.draft_probs if isinstance(proposal, SampledProposal) else None
        target_probs = (self._chances(proposed[:place]) for place in range(len(proposed) + 1))
        return rejection_sample(proposed, draft_probs, target_probs, self._rng)

    def score(self, tokens: Sequence[int]) -> list[float]:
        """Return how probable it is that each of `tokens` is drawn after those before it."""
        return [self._chances(tokens[:place])[token] for place, token in enumerate(tokens)]

    def _chances(self, tried: Sequence[int]) -> list[float]:
        text = [*self.context, *tried]
        return probs_of(process_logits(self.model.scores(text), self._sampling, text), self._sampling)


class SampledToyDraft(ToyDraftSession):
    """The draft at work, drawing."""

    def __init__(self, model: ToyDraft, context: list[int], sampling: Sampling, rng: Rng) -> None:
        super().__init__(model, context)
        self._sampling = sampling
        self._rng = rng
        self._drawn_from: list[list[float]] = []

    def _choose(self, context: Sequence[int], position: int) -> tuple[int, TokenSignals]:
        processed = self._processed(context)
        probs = probs_of(processed, self._sampling)
        token = self._rng.draw(probs)
        self._drawn_from.append(probs)
        return token, signals_of(position, token, softmax(processed))

    def _propose(self, tokens: tuple[int, ...], signals: tuple[TokenSignals, ...]) -> Proposal:
        drawn_from, self._drawn_from = tuple(self._drawn_from), []
        return SampledProposal(tokens, drawn_from, signals)

    def _share(self, context: Sequence[int], token: int) -> float:
        return probs_of(self._processed(context), self._sampling)[token]

    def _processed(self, context: Sequence[int]) -> list[float]:
        return process_logits(self._model.scores(context), self._sampling, context)


def signals_of(position: int, token: int, probs: Sequence[float]) -> TokenSignals:
    """Return all signals of a token that was drawn from a distribution."""
    first, second = heapq.nlargest(2, probs)
    entropy = -math.fsum(prob * math.log(prob) for prob in probs if prob)
    return TokenSignals(position, first, probs[token], entropy, first - second, token)


LETTERS = " etaoinshrdlucmfwygpbvkqjxz"
"""Token 0 ends a text; token k is the k-th letter."""


class Letters:
    """The toy's tokenizer: one letter, one token; unknown characters are spaces."""

    def encode(self, text: str) -> list[int]:
        """Return the tokens of `text`."""
        return [LETTERS.find(letter) + 1 or 1 for letter in text.lower()]

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of `tokens`, the end token left out."""
        return "".join(LETTERS[token - 1] for token in tokens if token)


def _draw(seed: int, salt: int, context: Sequence[int]) -> float:
    """Return a number in [0, 1) that depends on seed, salt, length and the last two tokens only.

    Mixed as in SplitMix64 (https://prng.di.unimi.it/splitmix64.c), so that neighbouring contexts are independent.
    """
    mixed = seed
    for part in (salt, len(context), context[-2] if len(context) > 1 else -1, context[-1]):
        mixed = (mixed + 0x9E3779B97F4A7C15 * (part + 2)) & 0xFFFFFFFFFFFFFFFF
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        mixed ^= mixed >> 31
    return mixed / 2**64


def _scores(
    seed: int, salt: int, context: Sequence[int], likeliest: int, size: int, eos: float
) -> list[float]:
    """Return logits of which that of `likeliest` is 0, and that of the end token small where ends are rare."""
    # The others share about a third of the probability, however many they are.
    weights = [_draw(seed, salt + token, context) / (size - 2) for token in range(size)]
    weights[0] *= eos
    weights[likeliest] = 1.0
    return [math.log(weight) if weight > 0.0 else -math.inf for weight in weights]


@dataclass(frozen=True)
class ToyTarget:
    """A target whose next token is a table look-up, or a draw.

    `vocabulary` may be made smaller, down to 3, so that all texts can be counted out. `rng` makes a session's source of
    chance out of a seed.
    """

    seed: int = 0
    eos_share: float = 0.0
    step_s: float = 0.0
    max_context: int | None = None
    capabilities: Capabilities = field(default_factory=lambda: Capabilities(sampling=True))
    codec: Letters = field(default_factory=Letters)
    vocabulary: int = len(LETTERS) + 1
    rng: Callable[[int], Rng] = SeededRng

    eos: ClassVar[frozenset[int]] = frozenset({0})

    def __post_init__(self) -> None:
        if not 3 <= self.vocabulary <= len(LETTERS) + 1:
            raise BackendError(
                f"toy: the vocabulary has 3 to {len(LETTERS) + 1} tokens, found {self.vocabulary}"
            )

    @property
    def identity(self) -> str:
        """Settings of the table, and how long a look takes."""
        table = f"seed {self.seed}, {self.vocabulary} tokens, eos_share {self.eos_share}"
        return f"toy target, {table}, step_s {self.step_s}"

    def next(self, context: Sequence[int]) -> int:
        """Return the likeliest token after `context`."""
        if _draw(self.seed, 1, context) < self.eos_share:
            return 0
        return 1 + int(_draw(self.seed, 2, context) * (self.vocabulary - 1))

    def scores(self, context: Sequence[int]) -> list[float]:
        """Return the logits of the token after `context`."""
        return _scores(self.seed, 100, context, self.next(context), self.vocabulary, self.eos_share)

    def open(self, prompt: Sequence[int]) -> ToyTargetSession:
        """Start a request."""
        return ToyTargetSession(self, list(prompt))

    def open_sampled(self, prompt: Sequence[int], sampling: Sampling) -> ToyTargetSession:
        """Start a request whose tokens are drawn."""
        return SampledToyTarget(self, list(prompt), sampling, self.rng(sampling.seed))


@dataclass(frozen=True)
class ToyDraft:
    """A draft that looks into its target's table and is wrong at a fixed share of contexts."""

    target: ToyTarget
    agreement: float = 0.8
    step_s: float = 0.0

    signals: ClassVar[frozenset[Signal]] = SIGNALS

    @property
    def identity(self) -> str:
        """Share of contexts where it is right, and how long a look takes."""
        return f"toy draft, agreement {self.agreement}, step_s {self.step_s}"

    def open(self, prompt: Sequence[int]) -> ToyDraftSession:
        """Start a request."""
        return ToyDraftSession(self, list(prompt))

    def open_sampled(self, prompt: Sequence[int], sampling: Sampling) -> ToyDraftSession:
        """Start a request whose tokens are drawn."""
        return SampledToyDraft(self, list(prompt), sampling, self.target.rng(sampling.seed))

    def guess(self, context: Sequence[int]) -> tuple[int, float]:
        """Return a token for `context` and how probable the draft holds it."""
        token = self.target.next(context)
        luck = _draw(self.target.seed, 3, context)
        if luck < self.agreement:
            return token, 1.0 - 0.4 * luck
        return 1 + token % (self.target.vocabulary - 1), 0.6 - 0.4 * luck

    def scores(self, context: Sequence[int]) -> list[float]:
        """Return the draft's logits of the token after `context`."""
        target = self.target
        return _scores(target.seed, 200, context, self.guess(context)[0], target.vocabulary, target.eos_share)


OTHER_TARGET: Final = "a toy draft knows only toy targets; use `backend: prompt-lookup` with this target"


class ToyConfig(BackendConfig):
    """A table model in pure Python: a target that writes nonsense, and drafts that often guess it."""

    roles: ClassVar[frozenset[Role]] = frozenset({"target", "draft"})

    backend: Literal["toy"] = "toy"
    seed: int = Field(default=0, description="Which table; target and draft of one run use the target's.")
    agreement: float = Field(
        default=0.8, ge=0, le=1, description="Draft: share of positions where it is right."
    )
    eos_share: float = Field(
        default=0.0, ge=0, le=1, description="Target: share of contexts that end the text."
    )
    step_s: float = Field(default=0.0, ge=0, description="Seconds to wait in each forward pass.")

    def check_draft(self, run: RunConfig, target: Readiness) -> Readiness:
        """Tell whether the target is a toy as well."""
        del target
        return Readiness(() if isinstance(run.target, ToyConfig) else (OTHER_TARGET,))

    @classmethod
    def smallest(cls, folder: Path) -> Self:
        """Return the block without options."""
        del folder
        return cls()

    def build_target(self) -> ToyTarget:
        """Return the table target."""
        return ToyTarget(seed=self.seed, eos_share=self.eos_share, step_s=self.step_s)

    def build_draft(self, target: Target) -> ToyDraft:
        """Return a draft that guesses a toy target."""
        if not isinstance(target, ToyTarget):
            raise BackendError(OTHER_TARGET)
        return ToyDraft(target, agreement=self.agreement, step_s=self.step_s)
