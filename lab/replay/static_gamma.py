"""All static gammas of all drafts at once, over many texts at once: what the simulator finds one by one, in arrays.

A static gamma learns nothing, so texts do not depend on one another, and each pair of a text and a static gamma is a
lane of its own. All lanes take their next round together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from paceline.core.generation import Totals
from paceline.lab.replay.tables import CostFactors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from paceline.lab.recording.model import Header, Text

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

TEXTS = 64
"""Texts that are taken together."""

ROUNDS = 1 << 18
"""Rounds that are kept before they are summed up, which bounds memory however long texts are."""


class StaticGamma(NamedTuple):
    """A fixed choice of draft and gamma; no draft where gamma is 0, which is plain decoding."""

    gamma: int = 0
    draft: str | None = None

    def __str__(self) -> str:
        """Its name in tables."""
        return f"{self.draft} {self.gamma}" if self.gamma else "plain"


PLAIN = StaticGamma()


def static_gammas(header: Header) -> list[StaticGamma]:
    """Return every static gamma that can be tried: plain decoding, then each draft with each gamma."""
    gammas = range(1, header.longest + 1)
    return [PLAIN, *(StaticGamma(gamma, draft) for draft in header.drafts for gamma in gammas)]


def sweep(
    header: Header, texts: Iterable[Text], statics: Sequence[StaticGamma] | None = None
) -> Iterator[tuple[Totals, ...]]:
    """Yield for each text its totals under some static gammas, under all of them by default."""
    statics = static_gammas(header) if statics is None else statics
    left = iter(texts)
    while batch := list(islice(left, TEXTS)):
        lanes = _Lanes(header, batch, statics)
        lanes.run()
        yield from lanes.totals()


def token_seconds(header: Header, text: Text) -> dict[StaticGamma, Floats]:
    """Return the seconds that each token of a text takes under every static gamma, plain decoding first.

    A round's seconds are shared out evenly among the tokens it emits, so that any stretch of the text has a price.
    """
    statics = static_gammas(header)
    lanes = _Lanes(header, [text], statics)
    lanes.shares = np.empty(len(statics) * len(text.tokens))
    lanes.run()
    return dict(zip(statics, lanes.shares.reshape(len(statics), -1), strict=True))


def best(totals: Iterable[Mapping[StaticGamma, float]]) -> StaticGamma:
    """Return the static gamma with the least seconds over some texts; of equals, the one with the least gamma."""
    sums: dict[StaticGamma, float] = {}
    for seconds in totals:
        for static, taken in seconds.items():
            sums[static] = sums.get(static, 0.0) + taken
    return min(sums, key=lambda static: (sums[static], static.gamma, static.draft or ""))


def segmented_s(by_token: Mapping[StaticGamma, Floats], window: int) -> float:
    """Return the seconds of a text if each `window` tokens of it took what its own best static gamma takes there."""
    each = np.array(list(by_token.values()))
    edges = np.arange(0, each.shape[1], window)
    return float(np.add.reduceat(each, edges, axis=1).min(axis=0).sum())


@dataclass
class _Lanes:
    """The lanes of a batch: lane = number of text times number of static gammas, plus number of static gamma."""

    header: Header
    texts: Sequence[Text]
    statics: Sequence[StaticGamma]
    shares: Floats | None = None
    rounds: list[Ints] = field(default_factory=list)
    kept: int = 0

    def __post_init__(self) -> None:
        lanes, self.width = len(self.texts) * len(self.statics), self.header.longest + 1
        # Per lane: draft seconds, verify seconds, drafted, accepted, rounds.
        self.sums = np.zeros((5, lanes))
        # By gamma planned, tokens agreed, and positions reached.
        self.counts = np.zeros((3, lanes * self.width), np.int64)
        self.prompt = np.repeat([text.prompt_tokens for text in self.texts], len(self.statics))
        self.ends = np.repeat([len(text.tokens) for text in self.texts], len(self.statics))
        self.begins: Ints = np.cumsum(self.ends) - self.ends
        self.changes = self._changes()

    def run(self) -> None:
        """Take rounds until every text is through."""
        infos = [self.header.drafts.get(static.draft or "") for static in self.statics]
        texts, count = len(self.texts), len(self.statics)
        of_lane = np.tile(np.arange(count), texts)
        gamma = np.array([static.gamma for static in self.statics])[of_lane]
        caches = np.array([info is not None and info.caches for info in infos])[of_lane]
        short = np.array([info.short if info is not None else 0 for info in infos])[of_lane]
        end = self.ends
        limits = np.repeat([text.max_new_tokens for text in self.texts], count)
        offered, agreed = (self._starts(kind) for kind in ("offered", "agreed"))
        begin = self.begins
        position, lag = np.zeros_like(end), np.where(caches, self.prompt - 1, 0)
        alive = np.arange(len(end))
        while len(alive):
            at, place = position[alive], begin[alive] + position[alive]
            planned = np.minimum(gamma[alive], limits[alive] - at - 1)
            drafted = np.minimum(planned, offered[place])
            accepted = np.minimum(drafted, agreed[place])
            after = np.minimum(at + accepted + 1, end[alive])
            self._keep(np.stack([alive, planned, drafted, accepted, lag[alive], at, after]))
            behind = np.where(accepted == drafted, short[alive], 0)
            behind = np.where(drafted > 0, behind, lag[alive] + after - at)
            lag[alive] = np.where(caches[alive], behind, 0)
            position[alive] = after
            alive = alive[after < end[alive]]
        self._settle()

    def _starts(self, kind: str) -> Ints:
        """Return the starts of every text and static gamma, one after the other."""
        parts = [
            np.zeros(len(text.tokens), np.int64)
            if static.draft is None
            else getattr(text.drafts[static.draft], kind).astype(np.int64)
            for text in self.texts
            for static in self.statics
        ]
        return np.concatenate(parts)

    def _changes(self) -> Floats:
        """Return how costs change for every text and static gamma, one after the other: see `CostFactors`."""
        parts = [np.ones((3, 0))]
        for text in self.texts:
            if all(text.changes is None for text in self.texts):
                break
            changes = CostFactors(text, self.header.drafts)
            same = [1.0] * len(text.tokens)
            for static in self.statics:
                factor = changes.drafts[static.draft] if static.draft is not None else same
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
        lane, planned, drafted, accepted, lag, position, after = np.concatenate(self.rounds, axis=1)
        self.rounds, self.kept = [], 0
        place = self.begins[lane] + position
        lanes, drafting = self.sums.shape[1], planned > 0
        static = lane % len(self.statics)
        draft_s = np.zeros(len(lane))
        draft_s[drafting] = _priced(self._draft_s, static[drafting], drafted[drafting], lag[drafting])
        verify_s = _priced(self.header.costs.verify_s, drafted + 1, self.prompt[lane] + position)
        if any(text.changes is not None for text in self.texts):
            factor, verify, token_s = self.changes[:, place]
            draft_s, verify_s = draft_s * factor, verify_s * verify + drafted * token_s
        if self.shares is not None:
            emitted = after - position
            seconds = (draft_s + verify_s + self.header.costs.overhead_s) / emitted
            offsets = np.arange(emitted.sum()) - np.repeat(np.cumsum(emitted) - emitted, emitted)
            self.shares[np.repeat(place, emitted) + offsets] = np.repeat(seconds, emitted)
        amounts: list[Any] = [draft_s, verify_s, drafted, accepted, np.ones(len(lane))]
        for row, amount in enumerate(amounts):
            self.sums[row] += np.bincount(lane, amount, lanes)
        reached = accepted + ((accepted < drafted) & (after < self.ends[lane]))
        cells = lanes * self.width
        for row, value in enumerate((planned, accepted, reached)):
            picked = slice(None) if row == 0 else drafting
            self.counts[row] += np.bincount((lane * self.width + value)[picked], minlength=cells)

    def _draft_s(self, static: int, drafted: int, lag: int) -> float:
        return self.header.costs.draft_s(self.statics[static].draft or "", drafted, lag)

    def totals(self) -> Iterator[tuple[Totals, ...]]:
        """Yield for each text the totals of all static gammas."""
        lanes = iter(range(self.sums.shape[1]))
        for text in self.texts:
            yield tuple(self._totals(text, static, next(lanes)) for static in self.statics)

    def _totals(self, text: Text, static: StaticGamma, lane: int) -> Totals:
        draft_s, verify_s, drafted, accepted, rounds = self.sums[:, lane].tolist()
        gammas, agreed, reached = self.counts[:, lane * self.width : (lane + 1) * self.width]
        plain = int(gammas[0])
        drafts = {"": plain, static.draft or "": int(rounds) - plain} if static.draft else {"": plain}
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
    sizes = tuple(int(amount.max()) + 1 for amount in amounts)
    cells, place = np.unique(np.ravel_multi_index(amounts, sizes), return_inverse=True)
    rows = zip(*(column.tolist() for column in np.unravel_index(cells, sizes)), strict=True)
    prices: Floats = np.array([price(*row) for row in rows], np.float64)[place]
    return prices
