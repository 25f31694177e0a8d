"""Where a text ends: end-of-sequence tokens, stop criteria, and the length limit, in this order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from paceline.core.records import Ended

StopCriterion = Callable[[Sequence[int]], bool]
"""Is shown the output so far after each token, and tells whether the text ends there."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Decides token by token where the target alone would have stopped."""

    max_new_tokens: int
    eos: frozenset[int]
    stop: tuple[StopCriterion, ...] = ()

    def cut(self, output: list[int], tokens: Sequence[int]) -> tuple[list[int], Ended | None]:
        """Return the part of `tokens` that belongs to the text, and why it was cut there if it was.

        `output` is extended by that part. The token that ends the text belongs to it.
        """
        before = len(output)
        for token in tokens:
            output.append(token)
            if ended := self._ended(output):
                return output[before:], ended
        return output[before:], None

    def _ended(self, output: list[int]) -> Ended | None:
        if output[-1] in self.eos:
            return "eos"
        if any(criterion(output) for criterion in self.stop):
            return "stop"
        if len(output) >= self.max_new_tokens:
            return "length"
        return None
