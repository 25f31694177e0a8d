"""Runs the blocks of a bench, one finished block after the other."""

from __future__ import annotations

import gc
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from paceline.lab.bench.records import Prompt, Run
from paceline.lab.bench.schedule import blocks
from paceline.lab.bench.summary import BASE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from paceline.lab.bench.modes import Mode

WARM_UP_TOKENS = 32


def _ignore(_mode: str) -> None:
    pass


@dataclass(slots=True)
class Measurement:
    """A bench under way.

    Args:
        modes: The ways to decode, in the order of the table.
        prompts: What to decode.
        repeats: Passes over the prompts.
        seed: For the order within blocks.
        before: Told the name of each mode before it runs.

    Attributes:
        failed: Modes that raised, with the error. They are left out from then on; plain decoding may not fail.
    """

    modes: Mapping[str, Mode]
    prompts: Sequence[Prompt]
    max_new_tokens: int
    repeats: int = 1
    seed: int = 0
    before: Callable[[str], None] = _ignore
    failed: dict[str, str] = field(default_factory=dict)

    def warm_up(self) -> None:
        """Let every mode decode a little of the first prompt, and forget the times."""
        for mode in self.modes:
            self._run(mode, self.prompts[0], 0, 0, max_new_tokens=min(self.max_new_tokens, WARM_UP_TOKENS))

    def blocks(self) -> Iterator[list[Run]]:
        """Yield the runs of each finished block; a block that is interrupted is lost, never half counted."""
        by_name = {prompt.name: prompt for prompt in self.prompts}
        for block in blocks(list(self.modes), list(by_name), repeats=self.repeats, seed=self.seed):
            runs = [
                self._run(
                    mode, by_name[block.prompt], block.repeat, place, max_new_tokens=self.max_new_tokens
                )
                for place, mode in enumerate(block.order)
            ]
            yield [run for run in runs if run is not None]

    def _run(self, mode: str, prompt: Prompt, repeat: int, place: int, *, max_new_tokens: int) -> Run | None:
        if mode in self.failed:
            return None
        self.before(mode)
        # Garbage of the mode before must not be collected on this one's time.
        gc.collect()
        try:
            outcome = self.modes[mode].run(prompt.tokens, max_new_tokens)
        except Exception as error:
            if mode == BASE:
                raise
            self.failed[mode] = f"{type(error).__name__}: {error}"
            return None
        return Run(
            mode, prompt.name, prompt.kind, repeat, place, outcome.seconds, outcome.tokens, outcome.counts
        )
