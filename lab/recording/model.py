"""A recording in memory: for each text and each draft, what it would have proposed from every start.

A start is a number of tokens emitted, 0 <= start < len(text.tokens). Everything a round can do follows from it. Asked
for gamma tokens at `start`, a draft proposes d = min(gamma, offered[start]) tokens, of which the target accepts
min(d, agreed[start]), and the round emits one more token than it accepts. This is exact under greedy decoding, where
the text does not depend on the policy. Where tokens are drawn, the text is a draw of the target's, and given the
text the probability that the token at a place had been accepted is min(1, q/p) for its probabilities q under the draft
and p under the target, independently for each place (from the acceptance rule of Leviathan et al. 2023,
https://arxiv.org/abs/2211.17192); `agreed` is then one draw of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from paceline.core.errors import TraceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from paceline.core.records import Ended, Signal
    from paceline.lab.recording.latency import LatencyProfile


@dataclass(frozen=True, slots=True)
class Starts:
    """Outcomes of one draft from every start of one text; arrays of length n = len(text.tokens).

    Attributes:
        offered: int16 (n,). Tokens it proposes when asked for `Header.longest`; fewer where it knows no more.
        agreed: int16 (n,). How many of those, from the first on, the target accepts; at most n - start.
        match_lengths: int32 (n,), the length of its match at each start; None for drafts that do not tell it.
        acceptance_probs: float32 (n,). Where tokens are drawn and the draft depends on the context alone: the
            probability that its token at this place is accepted, given the text. None where `agreed` is certain.
        signals: For each signal recorded, float32 (n, longest) (`token`: int32): row `start`, column k is about the
            k-th token that it would draft from there. Columns from `offered` on mean nothing.
        ranks: int8 (n,). Where the token of the text stands among the draft's choices after the text before it, 0 being
            the first; -1 where it is none of those told apart. None: it is known of the first choice alone.
        known: int16 (n,). From serving traces, where not everything was tried: the largest gamma whose outcome is known
            from each start, and match lengths are known where it is not -1. None: everything is known.
    """

    offered: NDArray[np.int16]
    agreed: NDArray[np.int16]
    match_lengths: NDArray[np.int32] | None = None
    acceptance_probs: NDArray[np.float32] | None = None
    signals: Mapping[Signal, NDArray[Any]] = field(default_factory=dict)
    known: NDArray[np.int16] | None = None
    ranks: NDArray[np.int8] | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes of one text's costs against the recording's profile, by where a round begins; n = len(text.tokens).

    They depend on the place in the text and not on the number of the round, so that every policy meets the same prices
    at the same token. What a draft reads to score tokens has the price of the place after these.

    Attributes:
        verify: float32 (n,). What the seconds of verification by the profile are multiplied by.
        token_s: float32 (n,). Seconds that each drafted token adds to verification besides.
        drafts: By name, float32 (n,): what the seconds of a draft are multiplied by, catching up and looking at signals
            included. Where a draft is missing, by 1.
    """

    verify: NDArray[np.float32]
    token_s: NDArray[np.float32]
    drafts: Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Text:
    """One text of the target, with what every draft would have done to it.

    Attributes:
        name: Tells texts of a recording apart, as "code/3".
        kind: The kind of prompt.
        prompt_sha256: As in a serving trace.
        prompt_tokens: How many tokens the prompt has.
        prompt: The tokens, where they were kept.
        max_new_tokens: The limit on new tokens it was written under.
        tokens: The output.
        ended: Why it ended.
        varies: Whether it neither loops nor repeats itself; see `paceline.lab.repetition`.
        perplexity: Of the prompt under the target, where it can be told.
        drafts: By name, in the order listed.
        changes: How its costs differ from the profile; None where they do not, as wherever it was not made up.
    """

    name: str
    kind: str
    prompt_sha256: str
    prompt_tokens: int
    prompt: Sequence[int] | None
    max_new_tokens: int
    tokens: Sequence[int]
    ended: Ended
    varies: bool
    perplexity: float | None
    drafts: Mapping[str, Starts]
    changes: Changes | None = None


@dataclass(frozen=True, slots=True)
class DraftInfo:
    """Facts about a draft that hold in all texts.

    Attributes:
        caches: Whether it keeps a cache, so that its lag grows by every token emitted without it; else its lag is 0.
        short: Tokens it lags after a round that accepted all it proposed: 1 for a model, whose last token is never fed.
        signals: Those recorded.
        match_lengths: Whether it tells the lengths of its matches.
        scores: Whether it can be asked by `Plan.score`.
        choices: How many of its choices are told apart in `Starts.ranks`; 0: none, and it drafts chains alone.
    """

    caches: bool
    short: int
    signals: frozenset[Signal]
    match_lengths: bool
    scores: bool
    choices: int = 0


@dataclass(frozen=True, slots=True)
class Measured:
    """One text really decoded under one policy while recording, to hold replays against.

    Attributes:
        policy: The policy's block, as JSON-able values; {"name": "static", "gamma": 3}.
        text: The text's name. Within one policy, texts stand in the order they were decoded, by one policy object.
        tokens, rounds: How many.
        seconds: Of decoding, without the prompt.
        part: 0 for the first run of the recorder, one more for each time it was resumed: policies begin anew in each.
    """

    policy: Mapping[str, Any]
    text: str
    tokens: int
    rounds: int
    seconds: float
    part: int = 0


@dataclass(frozen=True, slots=True)
class Header:
    """Facts that hold for all of a recording.

    Attributes:
        run: Configuration, versions, machine: JSON-able values.
        longest: The most tokens a draft was asked for: the largest gamma that can be tried.
        mode: Whether tokens were chosen greedily or drawn.
        drafts: By name, in the order listed.
        costs: What rounds took on that machine.
        made_up: Whether it comes from a generator and not from models.
    """

    run: Mapping[str, Any]
    longest: int
    mode: Literal["greedy", "sampled"]
    drafts: Mapping[str, DraftInfo]
    costs: LatencyProfile
    made_up: bool = False


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording whose texts are read one at a time, as often as wanted, so that its size does not matter.

    Attributes:
        complete: Whether it came to its end; a recorder that was interrupted leaves what it had.
    """

    header: Header
    measured: Sequence[Measured]
    texts: TextSource
    complete: bool = True

    def __iter__(self) -> Iterator[Text]:
        """Read the texts from the first to the last."""
        return iter(self.texts)


class TextSource(Protocol):
    """Source of the texts of a recording, a file or memory; it can be gone through as often as needed."""

    def __iter__(self) -> Iterator[Text]: ...

    def __getitem__(self, name: str) -> Text: ...

    def names(self) -> Sequence[str]:
        """Return the names in the order of the recording."""
        ...


class TextsInMemory(TextSource):
    """A list of texts, which can be asked for by name.

    Raises:
        TraceError: Two texts have the same name.
    """

    def __init__(self, texts: Iterable[Text]) -> None:
        self._texts: dict[str, Text] = {}
        for text in texts:
            if text.name in self._texts:
                raise TraceError(f"two texts are called {text.name!r}; the names of a recording must differ")
            self._texts[text.name] = text

    def __iter__(self) -> Iterator[Text]:
        """Return the texts from the first to the last."""
        return iter(self._texts.values())

    def __getitem__(self, name: str) -> Text:
        """Return one text.

        Raises:
            TraceError: There is none of that name.
        """
        try:
            return self._texts[name]
        except KeyError:
            raise TraceError(
                f"the recording has no text {name!r}; it has {len(self._texts)} others"
            ) from None

    def names(self) -> Sequence[str]:
        """Return the names in the order of the recording."""
        return tuple(self._texts)
