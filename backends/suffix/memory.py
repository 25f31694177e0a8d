"""Outputs of earlier requests that a draft remembers, and the file that they may be kept in."""

from __future__ import annotations

from collections import deque
from time import time_ns
from typing import TYPE_CHECKING

from paceline.backends.suffix.tree import SuffixTree
from paceline.core.errors import PacelineError
from paceline.core.files import check_output
from paceline.core.forking import ForkSafeLock
from paceline.core.optional_protocols import Identified

if TYPE_CHECKING:
    from pathlib import Path

    from paceline.core.protocols import Target
    from paceline.core.state.store import StateStore


class KeptOutputs:
    """Outputs for one target in a file of documents, as that of `state:` is; each request adds one.

    Args:
        file: The file; it may be that of `state:`.
        target: Outputs of others are left alone.
        most: Tokens that are kept.

    Raises:
        PacelineError: From every method: the file cannot be used; names it and says what to do.
    """

    def __init__(self, file: Path, target: Target, most: int) -> None:
        from paceline.core.state.store import StateStore  # noqa: PLC0415  # sqlite is loaded for those who use it

        check_output(file, PacelineError)
        self._store: StateStore = StateStore(file)
        self._store.check()
        name = target.identity if isinstance(target, Identified) else f"{target.vocabulary} tokens"
        self._prefix = f"suffix, outputs of {name}: "
        self._vocabulary = target.vocabulary
        self._most = most
        self._sizes: deque[tuple[str, int]] = deque()

    def read(self) -> list[list[int]]:
        """Return the outputs that are there, the oldest first."""
        texts: list[list[int]] = []
        for key in filter(lambda key: key.startswith(self._prefix), self._store.keys()):
            text = self._text(key)
            texts.append(text)
            self._sizes.append((key, len(text)))
        return texts

    def write(self, text: list[int]) -> None:
        """Add an output, and drop the oldest that are too many."""
        key = f"{self._prefix}{time_ns():020}"
        self._store.update(key, lambda _: text)
        self._sizes.append((key, len(text)))
        while sum(size for _, size in self._sizes) > self._most and len(self._sizes) > 1:
            self._store.remove(self._sizes.popleft()[0])

    def _text(self, key: str) -> list[int]:
        """Return an output; an empty one where something else stands there."""
        try:
            text = self._store.read(key)
        except ValueError:
            return []
        fits = isinstance(text, list) and all(
            type(token) is int and 0 <= token < self._vocabulary for token in text
        )
        return text if fits else []


class Memory:
    """Outputs of earlier requests, in two trees of half of it each; when the younger is full, the older is dropped.

    A suffix tree cannot forget its oldest tokens at a fair price.
    """

    def __init__(self, tokens: int, depth: int, kept: KeptOutputs | None = None) -> None:
        self.size = tokens
        self._half = max(1, tokens // 2)
        self._depth = depth
        self._kept = kept
        self._writing = ForkSafeLock()
        self.trees: tuple[SuffixTree, ...] = ()
        for text in () if kept is None else kept.read():
            self._add([], text)

    def add(self, before: list[int], output: list[int]) -> None:
        """Remember an output, with the tokens before it that its first ones are found by."""
        with self._writing:
            self._add(before, output)
            if self._kept is not None:
                self._kept.write(output)

    def _add(self, before: list[int], output: list[int]) -> None:
        before = before[-min(self._depth, self._half // 2) :]
        output = output[-max(1, self._half - len(before) - 1) :]
        room = self._half - (len(self.trees[0].tokens) if self.trees else self._half)
        if len(before) + len(output) + 1 > room:
            self.trees = (SuffixTree(self._depth), *self.trees[:1])
        young = self.trees[0]
        young.skip(before)
        for token in output:
            young.append(token)
