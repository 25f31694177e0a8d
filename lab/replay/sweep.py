"""All static gammas of all drafts at once, over many texts at once: what the simulator finds one by one, in arrays.

A static choice learns nothing, so texts do not depend on one another, and each pair of a text and a choice is a lane of
its own. All lanes take their next round together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from paceline.core.generation import Totals
from paceline.lab.replay_text import CostFactors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from paceline.lab.recording.model import Header, Text

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

TEXTS = 64
"""Texts that are taken together."""

ROUNDS = 1 << 18
"""Rounds that are kept before they are summed up, which bounds memory however long texts are."""


class Choice(NamedTuple):
    """One gamma with one draft throughout; no draft where gamma is 0."""

    gamma: int
    draft: str | None = None


def choices(header: Header) -> list[Choice]:
    """Return every static choice that can be tried: plain decoding, then each draft with each gamma."""
    gammas = range(1, header.longest + 1)
    return [Choice(0), *(Choice(gamma, draft) for draft in header.drafts for gamma in gammas)]


def sweep(
    header: Header, texts: Iterable[Text], asked: Sequence[Choice] | None = None
) -> Iterator[tuple[Totals, ...]]:
    """Yield for each text its totals under the static choices asked for, under all of them by default."""
    asked = choices(header) if asked is None else asked
    left = iter(texts)
    while batch := list(islice(left, TEXTS)):
        lanes = _Lanes(header, batch, asked)
        lanes.run()
        yield from lanes.totals()


@dataclass
class _Lanes:
    """The lanes of a batch: lane = number of text times number of choices, plus number of choice."""

    header: Header
    texts: Sequence[Text]
    asked: Sequence[Choice]
    rounds: list[Ints] = field(default_factory=list)
    kept: int = 0

    def __post_init__(self) -> None:
        lanes, self.width = len(self.texts) * len(self.asked), self.header.longest + 1
        # Per lane: draft seconds, verify seconds, drafted, accepted, rounds.
        self.sums = np.zeros((5, lanes))
        # By gamma planned, tokens agreed, and positions reached.
        self.counts = np.zeros((3, lanes * self.width), np.int64)
        self.prompt = np.repeat([text.prompt_tokens for text in self.texts], len(self.asked))
        self.begins, self.changes = self._begins(), self._changes()

    def run(self) -> None:
        """Take rounds until every text is through."""
        infos = [self.header.drafts.get(one.draft or "") for one in self.asked]
        texts, count = len(self.texts), len(self.asked)
        per_choice = np.tile(np.arange(count), texts)
        gamma = np.array([one.gamma for one in self.asked])[per_choice]
        caches = np.array([info is not None and info.caches for info in infos])[per_choice]
        short = np.array([info.short if info is not None else 0 for info in infos])[per_choice]
        end = np.repeat([len(text.tokens) for text in self.texts], count)
        wanted = np.repeat([text.max_new_tokens for text in self.texts], count)
        prompt = self.prompt
        offered, agreed = (self._starts(kind) for kind in ("offered", "agreed"))
        begin = self.begins
        position, lag = np.zeros_like(end), np.where(caches, prompt - 1, 0)
        alive = np.arange(len(end))
        while len(alive):
            at, place = position[alive], begin[alive] + position[alive]
            planned = np.minimum(gamma[alive], wanted[alive] - at - 1)
            drafted = np.minimum(planned, offered[place])
            accepted = np.minimum(drafted, agreed[place])
            after = np.minimum(at + accepted + 1, end[alive])
            ended = after == end[alive]
            self._keep(np.stack([alive, planned, drafted, accepted, lag[alive], prompt[alive] + at, ended]))
            behind = np.where(accepted == drafted, short[alive], 0)
            behind = np.where(drafted > 0, behind, lag[alive] + after - at)
            lag[alive] = np.where(caches[alive], behind, 0)
            position[alive] = after
            alive = alive[~ended]
        self._settle()

    def _starts(self, kind: str) -> Ints:
        """Return the starts of every text and choice, one after the other."""
        parts = [
            np.zeros(len(text.tokens), np.int64)
            if one.draft is None
            else getattr(text.drafts[one.draft], kind).astype(np.int64)
            for text in self.texts
            for one in self.asked
        ]
        return np.concatenate(parts)

    def _begins(self) -> Ints:
        lengths = np.repeat([len(text.tokens) for text in self.texts], len(self.asked))
        begins: Ints = np.cumsum(lengths) - lengths
        return begins

    def _changes(self) -> Floats:
        """Return how costs change for every text and choice, one after the other: see `CostFactors`."""
        parts = [np.ones((3, 0))]
        for text in self.texts:
            if all(one.changes is None for one in self.texts):
                break
            changes = CostFactors(text, self.header.drafts)
            same = [1.0] * len(text.tokens)
            for one in self.asked:
                factor = changes.drafts[one.draft] if one.draft is not None else same
                parts.append(np.array([factor, changes.verify, changes.token_s]))
        return np.concatenate(parts, axis=1)

    def _keep(self, taken: Ints) -> None:
        self.rounds.append(taken)
        self.kept += taken.shape[1]
        if self.kept >= ROUNDS:
            self._settle()

    def _settle(self) -> None:
        """Price the rounds that were kept and add them up."""
        if not self.rounds:
            return
        lane, planned, drafted, accepted, lag, context, ended = np.concatenate(self.rounds, axis=1)
        self.rounds, self.kept = [], 0
        lanes, drafting = self.sums.shape[1], planned > 0
        choice = lane % len(self.asked)
        draft_s = np.zeros(len(lane))
        draft_s[drafting] = _priced(self._draft_s, choice[drafting], drafted[drafting], lag[drafting])
        verify_s = _priced(self.header.costs.verify_s, drafted + 1, context)
        if any(text.changes is not None for text in self.texts):
            place = self.begins[lane] + context - self.prompt[lane]
            factor, verify, token_s = self.changes[:, place]
            draft_s, verify_s = draft_s * factor, verify_s * verify + drafted * token_s
        amounts: list[Any] = [draft_s, verify_s, drafted, accepted, np.ones(len(lane))]
        for row, amount in enumerate(amounts):
            self.sums[row] += np.bincount(lane, amount, lanes)
        reached = accepted + ((accepted < drafted) & (ended == 0))
        cells = lanes * self.width
        for row, value in enumerate((planned, accepted, reached)):
            one = slice(None) if row == 0 else drafting
            self.counts[row] += np.bincount((lane * self.width + value)[one], minlength=cells)

    def _draft_s(self, choice: int, drafted: int, lag: int) -> float:
        return self.header.costs.draft_s(self.asked[choice].draft or "", drafted, lag)

    def totals(self) -> Iterator[tuple[Totals, ...]]:
        """Yield for each text the totals of all choices."""
        lanes = iter(range(self.sums.shape[1]))
        for text in self.texts:
            yield tuple(self._totals(text, one, next(lanes)) for one in self.asked)

    def _totals(self, text: Text, one: Choice, lane: int) -> Totals:
        draft_s, verify_s, drafted, accepted, rounds = self.sums[:, lane].tolist()
        gammas, agreed, reached = self.counts[:, lane * self.width : (lane + 1) * self.width]
        plain = int(gammas[0])
        drafts = {"": plain, one.draft or "": int(rounds) - plain} if one.draft else {"": plain}
        return Totals(
            rounds=int(rounds),
            drafted=int(drafted),
            accepted=int(accepted),
            emitted=len(text.tokens),
            seconds=draft_s + verify_s + rounds * self.header.costs.overhead_s,
            draft_s=draft_s,
            verify_s=verify_s,
            gammas={gamma: count for gamma, count in enumerate(gammas.tolist()) if count},
            drafts={name: count for name, count in drafts.items() if count},
            reached=_at_least(reached),
            agreed=_at_least(agreed),
        )


def _at_least(exactly: Ints) -> tuple[int, ...]:
    """Return for each position how many rounds came past it, without the positions that none came to."""
    sums = np.cumsum(exactly[::-1])[::-1][1:]
    return tuple(sums[sums > 0].tolist())


def _priced(price: Callable[..., float], *amounts: Ints) -> Floats:
    """Return the price of each row of whole numbers, asked for once where rows are alike."""
    if not len(amounts[0]):
        return np.zeros(0)
    sizes = tuple(int(one.max()) + 1 for one in amounts)
    cells, place = np.unique(np.ravel_multi_index(amounts, sizes), return_inverse=True)
    rows = zip(*(one.tolist() for one in np.unravel_index(cells, sizes)), strict=True)
    prices: Floats = np.array([price(*row) for row in rows], np.float64)[place]
    return prices
