"""A pure-Python pair of table models, for tests, documentation and trying out policies.

The target's likeliest token is a fixed function of the context's length and its last two tokens, so that its text does
not fall into loops. The draft agrees with it at a fixed share of contexts, so acceptance is known, and its signals tell
how sure it is. Nothing here is random at run time but what is drawn under `Sampling`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final, Literal, Self

from pydantic import Field

from paceline.backends.toy_sessions import (
    SampledToyDraft,
    SampledToyTarget,
    ToyDraftSession,
    ToyTargetSession,
)
from paceline.core.config.blocks import BackendConfig, Readiness, Role
from paceline.core.errors import BackendError
from paceline.core.protocols import Target
from paceline.core.records import SIGNALS, Capabilities
from paceline.core.rejection_sampling import Rng, SeededRng

if TYPE_CHECKING:
    from pathlib import Path

    from paceline.core.config.run import RunConfig
    from paceline.core.sampling import Sampling


MAX_NODES = 64
"""Draft tokens of a tree that the target looks up at once."""

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
    capabilities: Capabilities = field(
        default_factory=lambda: Capabilities(sampling=True, nodes=MAX_NODES, processors=True)
    )
    codec: Letters = field(default_factory=Letters)
    vocabulary: int = len(LETTERS) + 1
    rng: Callable[[int], Rng] = SeededRng

    eos = frozenset({0})

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

    signals = SIGNALS

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

    def guesses(self, context: Sequence[int]) -> list[tuple[int, float]]:
        """Return every token for `context`, the likeliest first, and how probable the draft holds each.

        Where the first is wrong the second is right at the same share of contexts, else the last.
        """
        first, top1 = self.guess(context)
        right = self.target.next(context)
        others = [token for token in range(self.target.vocabulary) if token not in {first, right}]
        if right != first:
            others.insert(0 if _draw(self.target.seed, 4, context) < self.agreement else len(others), right)
        return [(first, top1), *((token, (1.0 - top1) * 0.5**rank) for rank, token in enumerate(others, 1))]

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
