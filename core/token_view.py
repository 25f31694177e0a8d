"""The tokens of a request as a policy may read them: without a copy, and without a way to change them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload


class TokenView(Sequence[int]):
    """Prompt and output, one after the other, as far as they have come."""

    __slots__ = ("_output", "_prompt")

    def __init__(self, prompt: Sequence[int], output: Sequence[int]) -> None:
        self._prompt = prompt
        self._output = output

    def __len__(self) -> int:
        return len(self._prompt) + len(self._output)

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[int, ...]: ...
    def __getitem__(self, index: int | slice) -> int | tuple[int, ...]:
        edge = len(self._prompt)
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1 and start >= edge:
                return tuple(self._output[start - edge : max(stop, start) - edge])
            return tuple(self[place] for place in range(start, stop, step))
        place = index + len(self) if index < 0 else index
        if place < 0:
            raise IndexError(index)
        return self._prompt[place] if place < edge else self._output[place - edge]
