"""A batch of `generate`, decoded row by row: each row has its own rounds, its own gammas and its own end."""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from paceline.backends.transformers.checks import require_blind_to_padding
from paceline.backends.transformers.engine_choice import cache_for
from paceline.backends.transformers.host.cache import cut
from paceline.backends.transformers.host.generation import decoder_output, pad_token
from paceline.backends.transformers.processors import BatchRow
from paceline.backends.transformers.rows import Row, RowDraft, RowTarget, ScoreRecord
from paceline.core.costs import LiveCosts
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.errors import TargetError
from paceline.core.sampling import GREEDY, Sampling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from paceline.backends.torch.engine import Cache
    from paceline.backends.torch.target import TargetModel
    from paceline.backends.transformers.criteria import EndCriteria
    from paceline.backends.transformers.engine_choice import EngineChoice
    from paceline.backends.transformers.models import HfTarget
    from paceline.backends.transformers.processors import RowProcessors
    from paceline.backends.transformers.request import GenerateRequest
    from paceline.core.protocols import Draft, Policy
    from paceline.core.records import Ended, Round


class LearnedState:
    """State that is kept about a target from call to call; the model itself is not, so that it may be let go of.

    Args:
        target: What it is about.
        drafts: What may draft for it.
        policy: Goes on learning.
    """

    def __init__(self, target: HfTarget, drafts: Mapping[str, Draft], policy: Policy) -> None:
        self.facts = target.engine.facts
        self.drafts = drafts
        self.policy = policy
        self._costs: defaultdict[str, LiveCosts] = defaultdict(LiveCosts)
        self._blind_to_padding = False

    def require_blind_to_padding(self, target: HfTarget) -> None:
        """Refuse a target that reads a row otherwise behind padding; tried once."""
        if not self._blind_to_padding:
            require_blind_to_padding(target.engine)
        self._blind_to_padding = True

    def decoder(self, target: TargetModel, row: Row, eos: frozenset[int]) -> SpeculativeDecoder:
        """Return the loop for one row; what passes cost is known for each engine."""
        drafts = {name: RowDraft(name, draft, row, target.vocabulary) for name, draft in self.drafts.items()}
        costs = self._costs[target.engine.backend]
        return SpeculativeDecoder(RowTarget(target, row, eos), drafts, self.policy, costs=costs, eos=eos)


class Batch:
    """The rows of one call, decoded one after the other."""

    def __init__(
        self,
        target: HfTarget,
        engines: EngineChoice,
        learned: LearnedState,
        request: GenerateRequest,
        processors: RowProcessors,
        end_criteria: EndCriteria,
        config: Any,
        seed: int | None,
        device: torch.device,
    ) -> None:
        self._target = target
        self._engines = engines
        self._learned = learned
        self._request = request
        self._end_criteria = end_criteria
        self._config = config
        kept = {
            kind: bool(config.return_dict_in_generate and getattr(config, f"output_{kind}"))
            for kind in ("scores", "logits")
        }
        batch_rows = [BatchRow(row, len(request.texts)) for row in range(len(request.texts))]
        sampling = _sampling(seed) if request.sampled else GREEDY
        # Everything that can be refused is refused here, before any row is decoded.
        self._rows = [
            Row(
                padding=text[:padding],
                processors=processors.for_row(batch_row),
                sampling=sampling.of(f"row {batch_row.row}"),
                device=device,
                record=ScoreRecord(**kept) if any(kept.values()) else None,
                cache=request.cache,
            )
            for batch_row, text, padding in zip(batch_rows, request.texts, request.padding, strict=True)
        ]
        self._stops = [
            end_criteria.for_row(text, batch_row, device, row.record)
            for batch_row, text, row in zip(batch_rows, request.texts, self._rows, strict=True)
        ]

    def decode(self, on_round: Callable[[int, Round], None] | None) -> list[list[int]]:
        """Return the new tokens of each row; a lent cache ends where the text that was shown does, come what may."""
        width = len(self._request.texts[0])
        most = max(1, self._end_criteria.max_length - width)
        outputs: list[list[int]] = [[] for _ in self._rows]
        shown = lambda: width + len(outputs[0]) - 1  # noqa: E731 - as in `generate`, the last token is yet to be read
        with lent(self._request.cache, shown, self._target.engine.clear):
            self._decode(outputs, most, on_round)
        return outputs

    def _decode(
        self, outputs: list[list[int]], most: int, on_round: Callable[[int, Round], None] | None
    ) -> None:
        for index, stop in enumerate(self._stops):
            if stop is not None:
                stop.begin(len(outputs) - index)
            ends = () if stop is None else (stop,)
            self._continue(index, outputs[index], most, self._end_criteria.eos, ends, on_round)
        longest = max(map(len, outputs))
        if not self._end_criteria.padded:
            # As in `generate`: without an end-of-sequence token, rows go on until the last one has ended.
            for index, output in enumerate(outputs):
                if len(output) < longest:
                    self._continue(index, output, longest - len(output), frozenset(), (), on_round)

    def _continue(
        self,
        index: int,
        output: list[int],
        most: int,
        eos: frozenset[int],
        stop: tuple[Callable[[Sequence[int]], bool], ...],
        on_round: Callable[[int, Round], None] | None,
    ) -> None:
        """Decode a row for at most so many tokens more, on another engine where that comes to pay on the way."""
        goal = len(output) + most
        while True:
            target, before = self._engines.target(), len(output)
            leg = min(goal - before, self._engines.most(target) or most)
            try:
                ended = self._decode_on(target, index, output, leg, eos, stop, on_round)
            finally:
                self._engines.wrote(target, len(output) - before)
            if ended != "length" or len(output) >= goal:
                return

    def _decode_on(
        self,
        target: TargetModel,
        index: int,
        output: list[int],
        most: int,
        eos: frozenset[int],
        stop: tuple[Callable[[Sequence[int]], bool], ...],
        on_round: Callable[[int, Round], None] | None,
    ) -> Ended | None:
        """Decode a row on one engine; return how that ended."""
        row, ended = self._rows[index], None
        prompt = [*self._request.texts[index][len(row.padding) :], *output]
        if output:
            # Nothing is drawn with the same random numbers twice.
            row = replace(row, sampling=row.sampling.of(f"after {len(output)} tokens"))
        with cache_for(target, row.cache, len(prompt) + most) as cache:
            decoder = self._learned.decoder(target, replace(row, cache=cache), eos)
            if output:
                stop = tuple(partial(_after, tuple(output), each) for each in stop)
            try:
                for done in decoder.rounds(prompt, max_new_tokens=most, stop=stop):
                    if on_round is not None:
                        on_round(index, done)
                    # Only now: where showing them fails, it is not known how many were seen.
                    output.extend(done.tokens)
                    ended = done.ended
            except TargetError as error:
                # What the caller's own processors raise leaves `generate` as it is.
                raise (error.__cause__ or error) from None
        return ended

    def output(self, outputs: list[list[int]], input_ids: torch.Tensor) -> Any:
        """Return what `generate` returns."""
        longest = max(map(len, outputs))
        filler = pad_token(self._config)
        filled = [output + [filler] * (longest - len(output)) for output in outputs]
        new = torch.tensor(filled, dtype=input_ids.dtype, device=input_ids.device)
        sequences = torch.cat([input_ids, new], dim=1)
        if not self._config.return_dict_in_generate:
            return sequences
        return decoder_output(
            sequences=sequences,
            scores=self._stacked("scores", longest),
            logits=self._stacked("logits", longest),
            cache=self._request.cache,
        )

    def _stacked(self, kind: str, longest: int) -> tuple[torch.Tensor, ...] | None:
        """Return one tensor a step, shape (rows, vocabulary); 0 where a row has ended."""
        if not getattr(self._config, f"output_{kind}"):
            return None
        kept = [getattr(row.record, kind) for row in self._rows]
        return tuple(
            torch.cat([rows[step] if step < len(rows) else torch.zeros_like(rows[0]) for rows in kept])
            for step in range(longest)
        )


def _after(before: tuple[int, ...], stop: Callable[[Sequence[int]], bool], output: Sequence[int]) -> bool:
    """Tell whether a row ends, by what was written before as well."""
    return stop([*before, *output])


def _sampling(seed: int | None) -> Sampling:
    return Sampling(seed=int(torch.randint(2**62, ())) if seed is None else seed)


@contextmanager
def lent(cache: Cache | None, shown: Callable[[], int], clear: Callable[[Cache], None]) -> Iterator[None]:
    """Leave a cache no further than the text that was shown, also where an exception ends the work on it.

    An exception may come between the layers of a forward pass, or after a round that nobody was shown. Where a layer
    cannot go back as far, the cache is emptied: the text is then read anew.

    Args:
        cache: The cache, if one was lent.
        shown: Returns how many tokens it may hold.
        clear: Makes a cache of the same model hold nothing.
    """
    try:
        yield
    except BaseException:
        if cache is not None and not cut(cache, shown()):
            clear(cache)
        raise
