"""A batch of `generate`: rows that share their passes, each with its own rounds, its own gammas and its own end."""

from __future__ import annotations

from collections import defaultdict
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from paceline.backends.transformers.checks import require_blind_to_padding
from paceline.backends.transformers.engine_choice import cache_for
from paceline.backends.transformers.host.cache import cut
from paceline.backends.transformers.host.generation import decoder_output
from paceline.backends.transformers.processors import BatchRow
from paceline.backends.transformers.request import KEPT
from paceline.backends.transformers.rows import Row, RowDraft, RowTarget, ScoreRecord
from paceline.core.batch_rounds import BatchRounds
from paceline.core.clock import WallClock
from paceline.core.costs import LiveCosts
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.errors import TargetError
from paceline.core.generation import Tally
from paceline.core.sampling import GREEDY, Sampling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from paceline.backends.torch.engine import Cache
    from paceline.backends.torch.target import TargetModel
    from paceline.backends.transformers.criteria import EndCriteria, RowCriterion
    from paceline.backends.transformers.engine_choice import EngineChoice
    from paceline.backends.transformers.models import HfTarget
    from paceline.backends.transformers.processors import RowProcessors
    from paceline.backends.transformers.request import GenerateRequest
    from paceline.core.decoder import OpenedRequest
    from paceline.core.protocols import Draft, Policy
    from paceline.core.records import Ended, Round


@dataclass(slots=True, eq=False)
class RowText:
    """The text of one row under way.

    Attributes:
        number: Of the row.
        row: How its tokens are chosen.
        prompt: What it begins with, without padding.
        eos: Tokens that end it.
        stop: What else ends it.
        output: Its new tokens so far.
        ended: How the last work on it ended.
    """

    number: int
    row: Row
    prompt: tuple[int, ...]
    eos: frozenset[int]
    stop: RowCriterion | None
    output: list[int] = field(default_factory=list)
    ended: Ended | None = None


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
        # What passes cost is known for each engine.
        self._costs: defaultdict[str, LiveCosts] = defaultdict(LiveCosts)
        self._clock = WallClock()
        self._reported = False
        self._blind_to_padding = False

    def require_blind_to_padding(self, target: HfTarget) -> None:
        """Refuse a target that reads a row otherwise behind padding; tried once."""
        if not self._blind_to_padding:
            require_blind_to_padding(target.engine)
        self._blind_to_padding = True

    def rounds(self, target: TargetModel, texts: Sequence[RowText]) -> BatchRounds:
        """Return what takes the rounds of several rows; that they share no passes is said once."""
        alone = len(texts) == 1
        costs = self._costs[target.engine.backend]
        rounds = BatchRounds(target, self.drafts, costs, self._clock, reported=self._reported or alone)
        self._reported = self._reported or not alone
        return rounds

    @contextmanager
    def opened(self, target: TargetModel, text: RowText, most: int) -> Iterator[OpenedRequest]:
        """Open a row, to be decoded for at most so many tokens more."""
        row, before = text.row, tuple(text.output)
        prompt = [*text.prompt, *before]
        if before:
            # Nothing is drawn with the same random numbers twice.
            row = replace(row, sampling=row.sampling.of(f"after {len(before)} tokens"))
        drafts = {name: RowDraft(name, draft, row, target.vocabulary) for name, draft in self.drafts.items()}
        stop = () if text.stop is None else (partial(_after, before, text.stop),)
        with cache_for(target, row.cache, len(prompt) + most) as cache:
            decoder = SpeculativeDecoder(
                RowTarget(target, replace(row, cache=cache), text.eos),
                drafts,
                self.policy,
                costs=self._costs[target.engine.backend],
                clock=self._clock,
                eos=text.eos,
            )
            with decoder.opened(prompt, max_new_tokens=most, stop=stop, tally=Tally()) as opened:
                yield opened


class Batch:
    """The rows of one call."""

    def __init__(
        self,
        target: HfTarget,
        engines: EngineChoice,
        learned: LearnedState,
        request: GenerateRequest,
        processors: RowProcessors,
        end_criteria: EndCriteria,
        seed: int | None,
    ) -> None:
        self._target = target
        self._engines = engines
        self._learned = learned
        self._request = request
        self._end_criteria = end_criteria
        sampling = _sampling(seed) if request.sampled else GREEDY
        # Everything that can be refused is refused here, before any row is decoded.
        self._texts = [
            self._text(BatchRow(number, len(request.texts)), processors, sampling)
            for number in range(len(request.texts))
        ]

    def _text(self, batch_row: BatchRow, processors: RowProcessors, sampling: Sampling) -> RowText:
        request, number = self._request, batch_row.row
        text, padding = request.texts[number], request.padding[number]
        row = Row(
            padding=text[:padding],
            processors=processors.for_row(batch_row),
            sampling=sampling.of(f"row {number}"),
            device=request.device,
            record=ScoreRecord(request.kept) if request.kept else None,
            cache=request.cache,
        )
        stop = self._end_criteria.for_row(text, batch_row, request.device, row.record)
        return RowText(number, row, text[padding:], self._end_criteria.eos, stop)

    def decode(self, on_round: Callable[[int, Round], None] | None) -> None:
        """Decode all rows to their ends; a lent cache ends where the text that was shown does, come what may."""
        width = len(self._request.texts[0])
        first = self._texts[0].output
        shown = lambda: width + len(first) - 1  # noqa: E731 - as in `generate`, the last token is yet to be read
        with lent(self._request.cache, shown, self._target.engine.clear):
            self._write(self._texts, max(1, self._end_criteria.max_length - width), on_round)
            if not self._end_criteria.padded:
                # As in `generate`: without an end-of-sequence token, rows go on until the last one has ended.
                longest = max(len(text.output) for text in self._texts)
                shorter = [text for text in self._texts if len(text.output) < longest]
                for text in shorter:
                    text.eos, text.stop = frozenset(), None
                self._write(shorter, longest, on_round)

    def _write(
        self, texts: Sequence[RowText], goal: int, on_round: Callable[[int, Round], None] | None
    ) -> None:
        """Decode rows until each has ended or has so many tokens, on another engine where that comes to pay."""
        while texts:
            target, before = self._engines.target(), sum(len(text.output) for text in texts)
            most = self._engines.most(target) or goal
            try:
                self._write_on(
                    target, texts, [min(goal - len(text.output), most) for text in texts], on_round
                )
            except TargetError as error:
                # What the caller's own processors raise leaves `generate` as it is.
                raise (error.__cause__ or error) from None
            finally:
                self._engines.wrote(target, sum(len(text.output) for text in texts) - before)
            texts = [text for text in texts if text.ended == "length" and len(text.output) < goal]

    def _write_on(
        self,
        target: TargetModel,
        texts: Sequence[RowText],
        most: Sequence[int],
        on_round: Callable[[int, Round], None] | None,
    ) -> None:
        """Decode rows on one engine for at most so many tokens each."""
        rounds = self._learned.rounds(target, texts)
        with ExitStack() as stack:
            under_way = []
            for text, limit in zip(texts, most, strict=True):
                own = stack.enter_context(ExitStack())
                under_way.append((text, own.enter_context(self._learned.opened(target, text, limit)), own))
            while under_way:
                outcomes = rounds.take([opened.request for _, opened, _ in under_way])
                for (text, _, own), done in zip(under_way, outcomes, strict=True):
                    if isinstance(done, BaseException):
                        raise done
                    if on_round is not None:
                        on_round(text.number, done)
                    # Only now: where showing them fails, it is not known how many were seen.
                    text.output.extend(done.tokens)
                    text.ended = done.ended
                    if done.ended is not None:
                        own.close()
                under_way = [each for each in under_way if each[0].ended is None]

    def output(self, input_ids: torch.Tensor) -> Any:
        """Return what `generate` returns."""
        request, outputs = self._request, [text.output for text in self._texts]
        longest = max(map(len, outputs))
        filled = [output + [request.filler] * (longest - len(output)) for output in outputs]
        new = torch.tensor(filled, dtype=input_ids.dtype, device=input_ids.device)
        sequences = torch.cat([input_ids, new], dim=1)
        if not request.whole_output:
            return sequences
        kept = {kind: self._stacked(kind, longest) if kind in request.kept else None for kind in KEPT}
        return decoder_output(sequences=sequences, cache=request.cache, **kept)

    def _stacked(self, kind: str, longest: int) -> tuple[torch.Tensor, ...]:
        """Return one tensor a step, shape (rows, vocabulary); 0 where a row has ended."""
        kept = [text.row.record.kept(kind) for text in self._texts if text.row.record is not None]
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
