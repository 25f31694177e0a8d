"""Passes that sessions ask for, run for one request alone, or for many requests together.

A session's part in a round is written once, as a generator. It yields each pass that it needs, and is sent the logits;
and each tensor that the host must read, and is sent its numbers. `run` answers a single one. `run_together` answers
those of many requests: what they ask for at the same time is one pass, and one copy from the device.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import torch

from paceline.backends.torch.engine import BatchEngine
from paceline.core.errors import INTERRUPTS

if TYPE_CHECKING:
    from paceline.backends.torch.sequence import SequenceState

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Pass:
    """A forward pass of one request.

    Attributes:
        sequence: Its state, whose cache grows.
        tokens: Plain integers, or a device tensor of shape (1, tokens).
        rows: Logits that are needed, of the last so many tokens.
    """

    sequence: SequenceState
    tokens: Sequence[int] | torch.Tensor
    rows: int

    def run(self) -> torch.Tensor:
        """Return the logits, shape (rows, vocabulary)."""
        return self.sequence.feed(self.tokens, self.rows)


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """Whole numbers on the device that the host has to know, shape (numbers,)."""

    numbers: torch.Tensor

    def run(self) -> list[int]:
        """Return them."""
        return self.numbers.tolist()


Steps: TypeAlias = Generator[Pass | Reading, Any, T]
"""Work of a session that yields what it needs, and returns T."""


def run(steps: Steps[T]) -> T:
    """Return what the work of one session comes to."""
    answer: Any = None
    while True:
        try:
            step = steps.send(answer)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        answer = step.run()


def run_together(works: Sequence[Steps[T]]) -> list[T | BaseException]:
    """Return what the work of each session comes to, or what it raised; all are sessions of one engine.

    Whatever one of them raises, the others go on. Only what interrupts the process passes through.
    """
    results: dict[int, T | BaseException] = {}
    answers: dict[int, Any] = dict.fromkeys(range(len(works)))
    readings: dict[int, Reading] = {}
    while answers:
        passes: dict[int, Pass] = {}
        for index, answer in answers.items():
            try:
                if isinstance(answer, BaseException):
                    raise answer  # noqa: TRY301 - its pass failed
                step = works[index].send(answer)
            except StopIteration as end:
                results[index] = end.value
            except INTERRUPTS:
                raise
            except BaseException as error:  # noqa: BLE001 - it costs the others nothing
                results[index] = error
            else:
                if isinstance(step, Pass):
                    passes[index] = step
                else:
                    readings[index] = step
        # Whoever is done with its passes waits for the others, so that all is read in one copy.
        answers = _feed(passes)
        if not passes:
            answers, readings = _read(readings), {}
    return [results[index] for index in range(len(works))]


def _feed(passes: Mapping[int, Pass]) -> dict[int, torch.Tensor | BaseException]:
    """Return the logits of each pass, or what it raised."""
    steps = [*passes.values()]
    engine = steps[0].sequence.engine if len(steps) > 1 else None
    if isinstance(engine, BatchEngine) and engine.unshared is None:
        rows = [step.rows for step in steps]
        try:
            logits = engine.feed_batch(
                [step.sequence.cache for step in steps], *_side_by_side(steps, engine.device), rows
            )
            return dict(zip(passes, torch.split(logits, rows), strict=True))
        except INTERRUPTS:
            raise
        except BaseException:  # noqa: BLE001 - whose fault it was shows where each is run alone
            for step in steps:
                step.sequence.close_if_damaged()
    return {index: _alone(step) for index, step in passes.items()}


def _alone(step: Pass) -> torch.Tensor | BaseException:
    try:
        return step.run()
    except INTERRUPTS:
        raise
    except BaseException as error:  # noqa: BLE001 - it costs the others nothing
        return error


def _side_by_side(
    steps: Sequence[Pass], device: torch.device
) -> tuple[Sequence[int] | torch.Tensor, list[int]]:
    """Return the tokens of all passes, one after the other, and how many each has."""
    if not any(isinstance(step.tokens, torch.Tensor) for step in steps):
        return [token for step in steps for token in step.tokens], [len(step.tokens) for step in steps]
    parts = [
        step.tokens[0] if isinstance(step.tokens, torch.Tensor) else torch.tensor(step.tokens, device=device)
        for step in steps
    ]
    return torch.cat(parts), [len(part) for part in parts]


def _read(readings: Mapping[int, Reading]) -> dict[int, list[int]]:
    """Return the numbers of each reading, all in one copy."""
    if not readings:
        return {}
    tensors = [reading.numbers for reading in readings.values()]
    numbers = iter(torch.cat(tensors).tolist())
    return {
        index: [next(numbers) for _ in tensor]
        for index, tensor in zip(readings, map(range, map(len, tensors)), strict=True)
    }
