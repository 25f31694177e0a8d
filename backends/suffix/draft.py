"""Suffix decoding: a draft without a model that continues the context as it was most often continued before.

After SuffixDecoding (https://arxiv.org/abs/2411.04975): find the longest run of tokens that ends the context and was
seen before, in this request or in the outputs of earlier ones, and propose what followed it most often, token by token.
The share of that token among all that followed is its probability. A tree holds several of those tokens, and where
there are not enough, those that followed shorter runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from paceline.backends.suffix.memory import KeptOutputs, Memory
from paceline.backends.suffix.tree import NO_TOKEN, Match, SuffixTree
from paceline.core.config.blocks import BackendConfig, Readiness, Role
from paceline.core.proposals import DraftControl, TokenProposal
from paceline.core.protocols import Target
from paceline.core.records import SIGNALS, Signal, TokenSignals
from paceline.core.trees import Listed, TokenTree, grow_tree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paceline.core.config.run import RunConfig


class SuffixConfig(BackendConfig):
    """A draft without a model: proposes what most often followed the end of the text before.

    It looks for the longest run of tokens that ends the text, in prompt and output and in what earlier requests were
    answered.
    """

    roles: ClassVar[frozenset[Role]] = frozenset({"draft"})

    backend: Literal["suffix"] = "suffix"
    max_match: int = Field(default=32, ge=1, le=256, description="Longest run of tokens to look for.")
    min_match: int = Field(default=1, ge=1, le=256, description="Shortest run that is continued.")
    memory: int = Field(
        default=50_000,
        ge=0,
        description="Tokens of earlier outputs to remember; 0 looks at one request alone.",
    )
    file: Path | None = Field(
        default=None,
        description="File that remembered outputs are kept in over restarts; relative to the current directory.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min_match > self.max_match:
            raise ValueError(f"min_match {self.min_match} is above max_match {self.max_match}")
        if self.file is not None and not self.memory:
            raise ValueError("with memory 0 there is nothing to keep in a file; leave out one of both")
        return self

    def check_draft(self, run: RunConfig, target: Readiness) -> Readiness:
        """Tell which signals it has; it fits every target."""
        del run, target
        return Readiness(signals=SuffixDraft.signals)

    @classmethod
    def smallest(cls, folder: Path) -> SuffixConfig:
        """Return the block without options."""
        del folder
        return cls()

    def build_draft(self, target: Target) -> SuffixDraft:
        """Return the draft; it fits every target.

        Raises:
            PacelineError: The file is no file of ours, or cannot be read.
        """
        if not self.memory:
            return SuffixDraft(max_match=self.max_match, min_match=self.min_match)
        kept = None if self.file is None else KeptOutputs(self.file, target, self.memory)
        memory = Memory(self.memory, self.max_match, kept)
        return SuffixDraft(max_match=self.max_match, min_match=self.min_match, memory=memory)


class SuffixDraft:
    """Opens a suffix tree for each request, and remembers what the requests were answered."""

    signals: frozenset[Signal] = SIGNALS

    def __init__(self, *, max_match: int = 32, min_match: int = 1, memory: Memory | None = None) -> None:
        self.max_match, self.min_match = max_match, min_match
        self.memory = memory

    @property
    def identity(self) -> str:
        """Lengths of the runs that it looks for, and how much it remembers."""
        size = 0 if self.memory is None else self.memory.size
        return f"suffix, {self.min_match} to {self.max_match} tokens, memory {size}"

    def forgetful(self) -> SuffixDraft:
        """Return a draft that looks at one request alone."""
        return SuffixDraft(max_match=self.max_match, min_match=self.min_match)

    def open(self, prompt: Sequence[int]) -> SuffixSession:
        """Take in the prompt."""
        return SuffixSession(prompt, self)


Continuation: TypeAlias = "tuple[int, dict[int, int]]"
"""A token, and how often each token came in its place."""


class SuffixSession:
    """The suffix tree of one request, beside those of earlier ones."""

    lag = 0

    def __init__(self, prompt: Sequence[int], draft: SuffixDraft) -> None:
        self._draft = draft
        self._tree = SuffixTree(draft.max_match)
        self._scored: list[int] = []
        self._prompt = len(prompt)
        self.advance(prompt)

    @property
    def match_length(self) -> int:
        """Number of tokens at the end of the context that were seen before; 0 when there is nothing to propose."""
        self._forget_scored()
        length = self._longest(self._tree.match_at_end())[0].length
        return length if length >= self._draft.min_match else 0

    def draft(self, gamma: int, control: DraftControl | None) -> TokenProposal:
        """Propose up to `gamma` tokens, none when the end of the context is new."""
        self._forget_scored()
        known = len(self._tree.tokens)
        tokens: list[int] = []
        signals: list[TokenSignals] = []
        try:
            for token, followers in self._ahead():
                tokens.append(token)
                if control is not None and control.signals:
                    signals.append(_signals(len(signals), token, followers, control.signals))
                    if not control.goes_on(signals[-1]):
                        break
                if len(tokens) == gamma:
                    break
        finally:
            del self._tree.tokens[known:]
        return TokenProposal(tuple(tokens), tuple(signals))

    def draft_tree(self, gamma: int, nodes: int, width: int, control: DraftControl | None) -> TokenTree:
        """Propose a tree of what followed; none when the end of the context is new."""
        self._forget_scored()

        def signals(position: int, token: int, way: tuple[int, ...]) -> TokenSignals:
            match, tree = self._after(way)
            return _signals(position, token, match.followers(tree.tokens), control.signals)  # type: ignore[union-attr]

        return grow_tree(self._branch, gamma, nodes, width, control, signals)

    def continuations(self) -> dict[int, float]:
        """Return the tokens that came next, each with its probability, the likeliest first."""
        self._forget_scored()
        match, tree = self._longest(self._tree.match_at_end())
        if match.length < self._draft.min_match:
            return {}
        followers = match.followers(tree.tokens)
        total = sum(followers.values())
        return {token: followers[token] / total for token in sorted(followers, key=lambda t: -followers[t])}

    def score(self, tokens: Sequence[int]) -> list[float]:
        """Return 1.0 for each of `tokens` that would have been the first one proposed there, else 0.0.

        The tokens are taken in at once: as a rule `advance` shows the same ones next.
        """
        self._forget_scored()
        scores = []
        for token in tokens:
            match, tree = self._longest(self._tree.match_at_end())
            known = match.length >= self._draft.min_match
            scores.append(float(known and match.likeliest(tree.tokens) == token))
            self._tree.append(token)
        self._scored = list(tokens)
        return scores

    def advance(self, tokens: Sequence[int]) -> None:
        """Take in tokens that were delivered."""
        if self._scored and list(tokens[: len(self._scored)]) == self._scored:
            tokens, self._scored = tokens[len(self._scored) :], []
        self._forget_scored()
        for token in tokens:
            self._tree.append(token)

    def close(self) -> None:
        """Drop the tree, once what was delivered is remembered."""
        self._forget_scored()
        tokens, memory = self._tree.tokens, self._draft.memory
        if memory is not None and len(tokens) > self._prompt:
            memory.add(tokens[: self._prompt], tokens[self._prompt :])
        self._tree = SuffixTree(self._draft.max_match)
        self._prompt = 0

    def _ahead(self) -> Iterator[Continuation]:
        """Yield the tokens that follow, appended to the context without being counted."""
        context = self._tree.tokens
        match, tree = self._longest(self._tree.match_at_end())
        while match.length >= self._draft.min_match:
            if isinstance(match.tail, int):
                # What occurred once is followed on, in the request itself into what has just been proposed.
                source, place = tree.tokens, match.tail
                while place < len(source) and source[place] != NO_TOKEN:
                    token = source[place]
                    context.append(token)
                    yield token, {token: 1}
                    place += 1
            else:
                token = match.likeliest(tree.tokens)
                context.append(token)
                yield token, match.followers(tree.tokens)
            match, tree = self._longest(self._tree.match(context))

    def _after(self, way: tuple[int, ...]) -> tuple[Match, SuffixTree]:
        """Return the longest match of the context and `way`, and where it is."""
        context = self._tree.tokens
        known = len(context)
        context += way
        try:
            return self._longest(self._tree.match(context))
        finally:
            del context[known:]

    def _branch(self, way: tuple[int, ...]) -> Listed:
        """Return what followed the longest match of the context and `way`, and then what followed shorter ones.

        Of n tokens that followed a run, n of n + 1 parts of the probability are theirs, and the last part is that of
        shorter runs (Cleary and Witten 1984, "Data compression using adaptive coding and partial string matching",
        method A).
        """
        match, tree = self._after(way)
        candidates: dict[int, float] = {}
        if match.length < self._draft.min_match:
            return Listed([])
        shorter = [node for node in reversed(match.path) if node.depth >= self._draft.min_match]
        left = 1.0
        for run in (match, *(Match(node.depth, [node], None) for node in shorter)):
            followers = run.followers(tree.tokens)
            total = sum(followers.values())
            likeliest = run.likeliest(tree.tokens)
            for token in sorted(followers, key=lambda t: (t != likeliest, -followers[t])):
                candidates.setdefault(token, left * followers[token] / (total + 1))
            left /= total + 1
        return Listed([*candidates.items()])

    def _longest(self, own: Match) -> tuple[Match, SuffixTree]:
        """Return the longest match, this request's own or that of an earlier one, and where it is."""
        match, place = own, self._tree
        memory = self._draft.memory
        for tree in () if memory is None else memory.trees:
            other = tree.match(self._tree.tokens)
            if other.length > match.length:
                match, place = other, tree
        return match, place

    def _forget_scored(self) -> None:
        """Build the tree anew without tokens that were scored and never delivered."""
        if self._scored:
            tokens = self._tree.tokens[: -len(self._scored)]
            self._scored = []
            self._tree = SuffixTree(self._draft.max_match)
            self.advance(tokens)


def _signals(
    position: int, token: int, followers: dict[int, int], signals: frozenset[Signal]
) -> TokenSignals:
    """Return the signals of a token by how often each token came in its place."""
    total = sum(followers.values())
    prob = followers[token] / total
    entropy = margin = None
    if "entropy" in signals:
        entropy = -sum(times / total * log(times / total) for times in followers.values())
    if "margin" in signals:
        second = max((times for other, times in followers.items() if other != token), default=0)
        margin = prob - second / total
    return TokenSignals(position, prob, prob, entropy, margin, token)
