"""A pure-Python pair of table models, for tests, documentation and trying out policies.

The target's next token is a fixed function of the context's length and its last two tokens, so that its text does not
fall into loops. The draft agrees with it at a fixed share of contexts, so acceptance is known, and its signals tell how
sure it is. Nothing here is random at run time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from pydantic import Field

from paceline.core.config.blocks import BackendConfig, Role
from paceline.core.errors import BackendError
from paceline.core.proposals import TokenProposal, TokenVerdict
from paceline.core.protocols import Proposal, Target, Watch
from paceline.core.records import SIGNALS, Capabilities, Signal, TokenSignals

LETTERS = " etaoinshrdlucmfwygpbvkqjxz"
"""Token 0 ends a text; token k is the k-th letter."""


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

    def build_target(self) -> ToyTarget:
        """Return the table target."""
        return ToyTarget(seed=self.seed, eos_share=self.eos_share, step_s=self.step_s)

    def build_draft(self, target: Target) -> ToyDraft:
        """Return a draft that guesses a toy target."""
        if not isinstance(target, ToyTarget):
            raise BackendError(
                "a toy draft knows only toy targets; use `backend: prompt-lookup` with this target"
            )
        return ToyDraft(target, agreement=self.agreement, step_s=self.step_s)


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


@dataclass(frozen=True)
class ToyTarget:
    """A target whose next token is a table look-up."""

    seed: int = 0
    eos_share: float = 0.0
    step_s: float = 0.0
    max_context: int | None = None
    capabilities: Capabilities = field(default_factory=Capabilities)
    codec: Letters = field(default_factory=Letters)

    vocabulary: ClassVar[int] = len(LETTERS) + 1
    eos: ClassVar[frozenset[int]] = frozenset({0})

    def next(self, context: Sequence[int]) -> int:
        """Return the token that follows `context`."""
        if _draw(self.seed, 1, context) < self.eos_share:
            return 0
        return 1 + int(_draw(self.seed, 2, context) * len(LETTERS))

    def open(self, prompt: Sequence[int]) -> ToyTargetSession:
        """Start a request."""
        return ToyTargetSession(self, list(prompt))


@dataclass(frozen=True)
class ToyDraft:
    """A draft that looks into its target's table and is wrong at a fixed share of contexts."""

    target: ToyTarget
    agreement: float = 0.8
    step_s: float = 0.0

    signals: ClassVar[frozenset[Signal]] = SIGNALS

    def open(self, prompt: Sequence[int]) -> ToyDraftSession:
        """Start a request."""
        return ToyDraftSession(self, list(prompt))

    def guess(self, context: Sequence[int]) -> tuple[int, float]:
        """Return a token for `context` and how probable the draft holds it."""
        token = self.target.next(context)
        luck = _draw(self.target.seed, 3, context)
        if luck < self.agreement:
            return token, 1.0 - 0.4 * luck
        return 1 + (token + 1) % len(LETTERS), 0.6 - 0.4 * luck


@dataclass(slots=True)
class ToyTargetSession:
    """The target at work: all its state is the context."""

    model: ToyTarget
    context: list[int]

    def verify(self, proposal: Proposal | None) -> TokenVerdict:
        """Return the longest prefix the table agrees with, and the table's next token."""
        _wait(self.model.step_s)
        tried = list(self.context)
        tokens: list[int] = []
        for token in proposal.tokens if proposal is not None else ():
            wanted = self.model.next(tried)
            if token != wanted:
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

    def __init__(self, model: ToyDraft, context: list[int]) -> None:
        self.lag = len(context) - 1
        self._model = model
        self._context = context
        self._ahead: int | None = (
            None  # draft tokens a cache would hold after this round; None: did not draft
        )

    def draft(self, gamma: int, watch: Watch | None) -> TokenProposal:
        """Propose `gamma` tokens, fewer when `watch` says so."""
        _wait(self._model.step_s)
        tried = list(self._context)
        signals: list[TokenSignals] = []
        for position in range(gamma):
            token, top1 = self._model.guess(tried)
            tried.append(token)
            if watch is None:
                continue
            signals.append(TokenSignals(position, top1, top1, 2 * (1 - top1), 2 * top1 - 1, token))
            if watch.stop is not None and watch.stop.stops(signals[-1]):
                break
            if watch.keep is not None and not watch.keep(signals[-1]):
                break
        tokens = tuple(tried[len(self._context) :])
        self._ahead = len(tokens) - 1  # the last token drafted is not read by the draft itself
        return TokenProposal(tokens, tuple(signals))

    def score(self, tokens: Sequence[int]) -> list[float]:
        """Return 1.0 for each of `tokens` that this draft would have proposed there, else 0.0."""
        self._ahead = len(tokens) - 1
        known = len(self._context)
        text = [*self._context, *tokens]
        return [float(self._model.guess(text[: known + i])[0] == token) for i, token in enumerate(tokens)]

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


def _wait(seconds: float) -> None:
    if seconds:
        time.sleep(seconds)
