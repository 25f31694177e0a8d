"""Tables of one text for dynamic programming: the cost of every choice at every start, and where it may lead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from paceline.lab.oracle.trees import tree_costs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from paceline.lab.oracle.trees import TreeCosts
    from paceline.lab.recording.latency import LatencyProfile
    from paceline.lab.recording.model import DraftInfo, Header, Starts, Text

Foresight = Literal["clairvoyant", "expectation"]
"""Foreknowledge: which tokens are accepted, or only the probability of each."""


@dataclass(frozen=True, slots=True)
class DraftCosts:
    """One draft on one text of n tokens, when asked for 0 to G tokens.

    Attributes:
        name: The draft's.
        short: See `DraftInfo.short`.
        most: int (n,). The most tokens it can propose in a round that begins there.
        seconds: (n, G + 1). Of a round that drafts so many tokens, without catching up.
        survive: (n, G + 1). The probability that the first so many tokens are all accepted; 0 past the end of the text.
        catch_up: By lag, seconds by the profile; of length prompt + n + short.
        score_s: Seconds by the profile that scoring takes besides catching up, where it can pay to score so as to catch
            up early; else None.
        factor: (n,). What the seconds of drafting, catching up and scoring are multiplied by; `seconds` holds it.
    """

    name: str
    short: int
    most: NDArray[np.int64]
    seconds: NDArray[np.float64]
    survive: NDArray[np.float64]
    catch_up: NDArray[np.float64]
    score_s: float | None
    factor: NDArray[np.float64]

    def catch_up_s(self, start: int, lag: Any) -> Any:
        """Return the seconds of catching up on a lag, or on each of several, before a round at `start`."""
        return self.catch_up[lag] * self.factor[start]


@dataclass(frozen=True, slots=True)
class DPTable:
    """All that a program over one text needs.

    Attributes:
        length: n, the number of tokens.
        prompt_tokens: Of the text.
        plain: (n,). Seconds of a round without a draft.
        lagging: Drafts whose cache lags; the state of the program holds a place for each of them.
        free: Drafts that never lag, or are let off catching up.
        exact: Whether none is let off.
        trees: Trees of drafts whose further choices are known; their rounds are let off catching up, and leave a cache
            as it was, so that nothing is exact where such a draft has one.
    """

    length: int
    prompt_tokens: int
    plain: NDArray[np.float64]
    lagging: Sequence[DraftCosts]
    free: Sequence[DraftCosts]
    exact: bool
    trees: Sequence[TreeCosts] = ()

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of places that the cache of each lagging draft can be filled up to."""
        return tuple(self.length + draft.short + 2 for draft in self.lagging)

    def lags(self, draft: DraftCosts, start: int) -> NDArray[np.int64]:
        """Return the lag at `start` by the index of the place up to which the cache is filled.

        Index 0 is a cache that has read nothing; index i > 0 one that holds the prompt and the first i - short - 1
        tokens but one, so that after a round that leaves a lag of 0 or `short` the index does not depend on the past.
        """
        filled = np.arange(start + draft.short + 2) - draft.short - 1
        lags = start - filled
        lags[0] = self.prompt_tokens - 1 + start
        return lags


def tabulate(text: Text, header: Header, *, foresight: Foresight, cells: int) -> DPTable:
    """Return the tables of one text.

    Args:
        text: The text.
        header: Of its recording.
        foresight: What is known beforehand.
        cells: The most states a program may have. Where there are more, drafts are let off catching up, the one whose
            catching up costs least first.
    """
    count, profile = len(text.tokens), header.costs
    verify = _verify(profile, text, header.longest)
    drafts = [
        (info, _draft_costs(name, info, text.drafts[name], text, header, verify, foresight))
        for name, info in header.drafts.items()
    ]
    lagging = [draft for info, draft in drafts if info.caches]
    free = [draft for info, draft in drafts if not info.caches]
    exact = True
    while lagging and (count + 1) * float(np.prod([count + draft.short + 2.0 for draft in lagging])) > cells:
        exact = False
        cheapest = min(lagging, key=lambda draft: float(draft.catch_up.sum()))
        lagging.remove(cheapest)
        free.append(cheapest)
    trees = [
        trees
        for name in header.drafts
        if foresight == "clairvoyant" and (trees := tree_costs(text, header, name)) is not None
    ]
    exact = exact and not any(header.drafts[each.name].caches for each in trees)
    return DPTable(count, text.prompt_tokens, verify[:, 0], lagging, free, exact, trees)


def _verify(profile: LatencyProfile, text: Text, longest: int) -> NDArray[np.float64]:
    """Return the seconds of rounds by start and tokens drafted, drafting itself not counted; (n, G + 1)."""
    rows = [
        [profile.verify_s(drafted + 1, text.prompt_tokens + start) for drafted in range(longest + 1)]
        for start in range(len(text.tokens))
    ]
    seconds = np.array(rows)
    if text.changes is not None:
        drafted = np.arange(longest + 1)
        seconds = seconds * _column(text.changes.verify) + drafted * _column(text.changes.token_s)
    return seconds + profile.overhead_s


def _column(values: NDArray[np.float32]) -> NDArray[np.float64]:
    return values.astype(np.float64)[:, None]


def _draft_costs(
    name: str,
    info: DraftInfo,
    starts: Starts,
    text: Text,
    header: Header,
    verify: NDArray[np.float64],
    foresight: Foresight,
) -> DraftCosts:
    count, longest, profile = len(text.tokens), header.longest, header.costs
    tokens = np.array([profile.draft_s(name, drafted) for drafted in range(longest + 1)])
    # Catching up and drafting add up in a profile, so the one can be told from the other at any number of tokens.
    reach = text.prompt_tokens + count + info.short
    catch_up = np.array([profile.draft_s(name, 1, lag) for lag in range(reach)]) - tokens[1]
    budget = text.max_new_tokens - np.arange(count) - 1
    factor = np.ones(count)
    if text.changes is not None and name in text.changes.drafts:
        factor = text.changes.drafts[name].astype(np.float64)
    return DraftCosts(
        name=name,
        short=info.short,
        most=np.minimum(np.minimum(starts.offered.astype(np.int64), longest), budget),
        seconds=verify + tokens * factor[:, None],
        survive=_certain(starts, longest)
        if starts.acceptance_probs is None or foresight == "clairvoyant"
        else _likely(starts.acceptance_probs, longest),
        catch_up=catch_up,
        score_s=float(tokens[1])
        if info.scores and info.caches and (bool((factor != 1.0).any()) or _pays(catch_up, tokens[1]))
        else None,
        factor=factor,
    )


def _certain(starts: Starts, longest: int) -> NDArray[np.float64]:
    return (np.arange(longest + 1) <= starts.agreed[:, None]).astype(np.float64)


def _likely(acceptance_probs: NDArray[np.float32], longest: int) -> NDArray[np.float64]:
    count = len(acceptance_probs)
    padded = np.concatenate([acceptance_probs.astype(np.float64), np.zeros(longest)])
    windows = padded[np.arange(count)[:, None] + np.arange(longest)]
    return np.concatenate([np.ones((count, 1)), np.cumprod(windows, axis=1)], axis=1)


def _pays(catch_up: NDArray[np.float64], score_s: float) -> bool:
    """Tell whether catching up twice, the first time by scoring, can ever take less than catching up once."""
    return any(
        bool((catch_up[first:] > score_s + catch_up[first] + catch_up[: len(catch_up) - first]).any())
        for first in range(1, len(catch_up))
    )
