"""Prompt lookup: a draft without a model that continues the context as it was continued before.

After Saxena's prompt lookup decoding (https://github.com/apoorvumang/prompt-lookup-decoding): find the last n tokens
earlier in the context and propose what followed. The longest n is tried first, then the latest occurrence. In a tree
the shorter runs speak as well: each adds what followed it, if no longer one did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from paceline.core.config.blocks import BackendConfig, Readiness, Role
from paceline.core.proposals import DraftControl, TokenProposal
from paceline.core.protocols import Target
from paceline.core.records import Signal, TokenSignals
from paceline.core.trees import Listed, TokenTree, grow_tree

if TYPE_CHECKING:
    from pathlib import Path

    from paceline.core.config.run import RunConfig

LONGEST_MATCH = 32
"""Matches are not measured further than this: a longer one is no better."""


class PromptLookupConfig(BackendConfig):
    """A draft without a model: proposes what followed the last few tokens earlier in prompt and output."""

    roles: ClassVar[frozenset[Role]] = frozenset({"draft"})

    backend: Literal["prompt-lookup"] = "prompt-lookup"
    max_ngram: int = Field(
        default=3, ge=1, le=32, description="Longest run of tokens to look up; tried first."
    )
    min_ngram: int = Field(default=1, ge=1, le=32, description="Shortest run of tokens to look up.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_ngram > self.max_ngram:
            raise ValueError(f"min_ngram {self.min_ngram} is above max_ngram {self.max_ngram}")
        return self

    def check_draft(self, run: RunConfig, target: Readiness) -> Readiness:
        """Tell which signals it has; it fits every target."""
        del run, target
        return Readiness(signals=PromptLookup.signals)

    @classmethod
    def smallest(cls, folder: Path) -> Self:
        """Return the block without options."""
        del folder
        return cls()

    def build_draft(self, target: Target) -> PromptLookup:
        """Return the draft; it fits every target."""
        return PromptLookup(max_ngram=self.max_ngram, min_ngram=self.min_ngram)


class PromptLookup:
    """Opens a lookup for each request."""

    signals: frozenset[Signal] = frozenset({"token"})

    def __init__(self, *, max_ngram: int = 3, min_ngram: int = 1) -> None:
        self._ngrams = tuple(range(max_ngram, min_ngram - 1, -1))

    @property
    def identity(self) -> str:
        """Lengths of the runs of tokens that it looks for."""
        return f"prompt-lookup, {self._ngrams[-1]} to {self._ngrams[0]} tokens"

    def open(self, prompt: Sequence[int]) -> PromptLookupSession:
        """Index the prompt."""
        return PromptLookupSession(prompt, self._ngrams)


class PromptLookupSession:
    """An index from each run of tokens to the position after its latest occurrence.

    A run enters the index when the token after it arrives, so the end of the context never finds itself.
    """

    lag = 0

    def __init__(self, prompt: Sequence[int], ngrams: tuple[int, ...]) -> None:
        self._ngrams = ngrams
        self._context: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}
        self.advance(prompt)

    @property
    def match_length(self) -> int:
        """Number of tokens at the end of the context that agree with those before the place found; 0: none found."""
        at = self._find()
        if at is None:
            return 0
        context, length = self._context, 1
        while length < min(at, LONGEST_MATCH) and context[at - 1 - length] == context[-1 - length]:
            length += 1
        return length

    def draft(self, gamma: int, control: DraftControl | None) -> TokenProposal:
        """Propose up to `gamma` tokens, none when the end of the context is new."""
        start = self._find()
        if start is None:
            return TokenProposal(())
        context = self._context
        # Copying may run past the end into what it has just written, as in a text that repeats itself.
        tokens: list[int] = []
        signals: list[TokenSignals] = []
        for offset in range(gamma):
            at = start + offset
            tokens.append(context[at] if at < len(context) else tokens[at - len(context)])
            if control is not None and control.signals:
                signals.append(TokenSignals(offset, token=tokens[-1]))
                if not control.goes_on(signals[-1]):
                    break
        return TokenProposal(tuple(tokens), tuple(signals))

    def draft_tree(self, gamma: int, nodes: int, width: int, control: DraftControl | None) -> TokenTree:
        """Propose what followed the runs of every length that end the context; none when its end is new."""
        return grow_tree(
            self._branch,
            gamma,
            nodes,
            width,
            control,
            lambda position, token, _: TokenSignals(position, token=token),
        )

    def score(self, tokens: Sequence[int]) -> list[float]:
        """Return 1.0 for each of `tokens` that would have been the first one proposed there, else 0.0."""
        context, known, scores = self._context, len(self._context), []
        ahead: dict[tuple[int, ...], int] = {}
        for token in tokens:
            at = self._find(ahead)
            scores.append(float(at is not None and context[at] == token))
            self._take(token, ahead)
        del context[known:]
        return scores

    def advance(self, tokens: Sequence[int]) -> None:
        """Take in tokens that were delivered."""
        for token in tokens:
            self._take(token, self._after)

    def close(self) -> None:
        """Drop the index."""
        self._after.clear()

    def _find(self, ahead: Mapping[tuple[int, ...], int] = MappingProxyType({})) -> int | None:
        """Return the place after the latest occurrence of the longest run that ends the context, if there is one."""
        context = self._context
        for n in self._ngrams:
            if n <= len(context):
                run = tuple(context[-n:])
                at = ahead.get(run) or self._after.get(run)
                if at is not None:
                    return at
        return None

    def _branch(self, way: tuple[int, ...]) -> Listed:
        """Return what followed each run that ends the context and `way`, the longest run first.

        A run of n tokens is taken to be right in n of n + 1 cases; that only says in which order a tree grows.
        """
        text = (*self._context[-self._ngrams[0] :], *way)
        candidates: dict[int, float] = {}
        left = 1.0
        for n in self._ngrams:
            at = self._after.get(text[-n:]) if n <= len(text) else None
            if at is not None and self._context[at] not in candidates:
                candidates[self._context[at]] = left * n / (n + 1)
                left /= n + 1
        return Listed([*candidates.items()])

    def _take(self, token: int, index: dict[tuple[int, ...], int]) -> None:
        context = self._context
        for n in self._ngrams:
            if n <= len(context):
                index[tuple(context[-n:])] = len(context)
        context.append(token)
