"""Outcomes of a draft from every start of a text that is known already.

A draft whose next token depends on the context alone is drafted ahead, compared with the text, and led on to its first
error: what it proposes from there is asked once more, so that all starts before know what would have followed. This
takes about one draft of `longest` tokens for each error, and another for each run of accepted tokens. Any other draft
is asked at every start.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from paceline.core.guards.draft import check_length, check_proposal
from paceline.core.optional_protocols import Memoryless, SupportsTrees
from paceline.core.proposals import DraftControl
from paceline.lab.recording.format_texts import runs, spread, tail_places
from paceline.lab.recording.model import Starts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from paceline.core.protocols import DraftSession
    from paceline.core.records import Signal, TokenSignals


@dataclass(frozen=True, slots=True)
class DraftQuery:
    """One draft at work on one request, asked for its tokens and signals.

    Attributes:
        name: What messages call it.
        session: At work on the request; every `advance` is up to the caller.
        signals: Those wanted; they are ones it delivers.
        vocabulary: The target's number of tokens.
    """

    name: str
    session: DraftSession
    signals: frozenset[Signal]
    vocabulary: int

    def draft(self, gamma: int) -> tuple[Sequence[int], Sequence[TokenSignals]]:
        """Return at most `gamma` tokens from here, and their signals where some are wanted.

        Raises:
            ContractError: The draft proposed more, or what is no token.
        """
        control = DraftControl(self.signals) if self.signals else None
        proposal = self.session.draft(gamma, control)
        check_proposal(self.name, self.session, proposal, gamma, self.vocabulary)
        return tuple(proposal.tokens), tuple(proposal.signals) if self.signals else ()


def agreement(proposed: Iterable[int], true_tokens: Iterable[int]) -> int:
    """Return how many tokens both begin with alike."""
    pairs = zip(proposed, true_tokens, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def dtype_of(signal: Signal) -> type[np.int32 | np.float32]:
    """Return the kind of number that a signal is kept as."""
    return np.int32 if signal == "token" else np.float32


class Places:
    """Outcomes of a draft that depends on the context alone: see `paceline.lab.recording.format_texts` for the idea.

    Args:
        n: Tokens of the text.
        longest: Tokens it is asked for.
        signals: Those wanted.
    """

    def __init__(self, n: int, longest: int, signals: Iterable[Signal]) -> None:
        self.n = n
        self.longest = longest
        self.bits = np.zeros(n, dtype=bool)
        self._offered = np.full(n, longest, np.int16)
        self._settled = 0  # starts before this are known to offer what `_offered` says
        self._path = {name: np.zeros(n, dtype_of(name)) for name in sorted(signals)}
        self._tails = {name: np.zeros((n, max(longest - 1, 0)), dtype_of(name)) for name in sorted(signals)}

    def on_path(self, place: int, signals: TokenSignals) -> None:
        """Note the signals of the token at a place that was reached along the text."""
        for name, path in self._path.items():
            path[place] = signals.value(name)

    def after(self, place: int, signals: Sequence[TokenSignals]) -> None:
        """Note the signals of the tokens that follow its own one at a place."""
        for name, tails in self._tails.items():
            row = [token.value(name) for token in signals[: self.longest - 1]]
            tails[place, : len(row)] = row

    def offers(self, start: int, count: int) -> None:
        """Note how many tokens it proposed from a start; if not all asked for, it stops there from before as well."""
        if count < self.longest:
            before = np.arange(self._settled, start + 1)
            self._offered[before] = np.minimum(self._offered[before], start + count - before)
        self._settled = start + 1

    def starts(
        self,
        *,
        match_lengths: NDArray[np.int32] | None = None,
        acceptance_probs: NDArray[np.float32] | None = None,
    ) -> Starts:
        """Return all of it."""
        ends = tail_places(self.bits)
        signals = {
            name: spread(path, self._tails[name][ends], ends, self.longest)
            for name, path in self._path.items()
        }
        return Starts(self._offered, runs(self.bits, self._offered), match_lengths, acceptance_probs, signals)


class Rows:
    """Outcomes of a draft from every start, one after the other.

    Args:
        n: Tokens of the text.
        longest: Tokens it is asked for.
        signals: Those wanted.
    """

    def __init__(self, n: int, longest: int, signals: Iterable[Signal]) -> None:
        self._offered = np.zeros(n, np.int16)
        self._agreed = np.zeros(n, np.int16)
        self._signals: dict[Signal, NDArray[Any]] = {
            name: np.zeros((n, longest), dtype_of(name)) for name in sorted(signals)
        }

    def take(self, start: int, offered: int, agreed: int, signals: Sequence[TokenSignals]) -> None:
        """Note what it did from one start."""
        self._offered[start], self._agreed[start] = offered, agreed
        for name, rows in self._signals.items():
            rows[start, : len(signals)] = [token.value(name) for token in signals]

    def starts(self, *, match_lengths: NDArray[np.int32] | None = None) -> Starts:
        """Return all of it."""
        return Starts(self._offered, self._agreed, match_lengths, None, self._signals)


def memoryless(session: DraftSession) -> bool:
    """Tell whether a draft says that its next token depends on the context alone."""
    return isinstance(session, Memoryless) and session.memoryless


def walk_draft(
    query: DraftQuery, tokens: Sequence[int], longest: int, *, match_lengths: NDArray[np.int32] | None = None
) -> Starts:
    """Return what a draft that depends on the context alone does from every start.

    Args:
        query: The draft, at the beginning of the text.
        tokens: The text.
        longest: Tokens asked for at a time.
        match_lengths: The length of its match at every start, if it tells that.
    """
    n, start = len(tokens), 0
    places = Places(n, longest, query.signals)
    while start < n:
        drafted, signals = query.draft(longest)
        agreed = agreement(drafted, tokens[start:])
        places.offers(start, len(drafted))
        places.bits[start : start + agreed] = True
        for offset, about in enumerate(signals[: min(agreed + 1, n - start)]):
            places.on_path(start + offset, about)
        # Up to where it is on the text; the last token of the text is asked for by itself.
        reached = min(agreed, n - 1 - start)
        whole = agreed == len(drafted) < n - start
        if whole:
            step = max(agreed, 1)
        elif reached and (query.signals or start + reached == n - 1):
            step = reached
        else:
            places.after(start + reached, signals[reached + 1 :])
            step = reached + 1
        query.session.advance(tokens[start : start + step])
        start += step
    return places.starts(match_lengths=match_lengths)


def probe_everywhere(
    query: DraftQuery, tokens: Sequence[int], longest: int, *, match_lengths: NDArray[np.int32] | None = None
) -> Starts:
    """Return what any draft does from every start, by asking it there; arguments as of `walk_draft`."""
    rows = Rows(len(tokens), longest, query.signals)
    for start, token in enumerate(tokens):
        drafted, signals = query.draft(longest)
        rows.take(start, len(drafted), agreement(drafted, tokens[start:]), signals)
        query.session.advance([token])
    return rows.starts(match_lengths=match_lengths)


def match_lengths_of(name: str, session: DraftSession, tokens: Sequence[int]) -> NDArray[np.int32] | None:
    """Return the length of a draft's match at every start; None for one that does not tell it."""
    if getattr(session, "match_length", None) is None:
        return None
    lengths = []
    for token in tokens:
        match_length = getattr(session, "match_length", None)
        check_length(name, session, "a match length", match_length)
        lengths.append(match_length)
        session.advance([token])
    return np.array(lengths, np.int32)


def ranks_of(
    session: DraftSession, tokens: Sequence[int], choices: int, agreed: NDArray[np.int16]
) -> NDArray[np.int8]:
    """Return which of a draft's choices was right at every place, -1 where none of so many was; see `Starts.ranks`.

    Whether the first one was is taken from `agreed`: a tie may fall otherwise in a tree.
    """
    assert isinstance(session, SupportsTrees)  # as who asks has looked
    ranks = np.full(len(tokens), -1, np.int8)
    for place, token in enumerate(tokens):
        listed = tuple(session.draft_tree(1, choices, choices, None).tokens)
        if agreed[place] > 0:
            ranks[place] = 0
        elif token in listed[1:choices]:
            ranks[place] = listed.index(token)
        session.advance([token])
    return ranks
