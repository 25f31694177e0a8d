"""One text of a recording with its arrays as tables, ready to be decoded again and again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, overload

from paceline.core.errors import TraceError
from paceline.core.recorded import DraftTable, RecordedDraft, RecordedDraftSession, RecordedText
from paceline.core.records import TokenSignals
from paceline.lab.replay.trees import BranchingDraftSession, Ranks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from paceline.core.records import Signal
    from paceline.lab.recording.model import DraftInfo, Header, Starts, Text

ROWS = 4096
"""Starts of one draft whose signals are kept as records: enough for texts of the usual length, and bounded."""


class UnkeptPrompt(Sequence[int]):
    """The prompt of a text whose tokens were not kept: it has a length, and cannot be read.

    `read` tells whether somebody tried all the same, so that a policy that hides the error is found out.
    """

    def __init__(self, text: str, length: int) -> None:
        self._text = text
        self._length = length
        self.read = False

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[int]: ...
    def __getitem__(self, index: int | slice) -> int | Sequence[int]:
        self.read = True
        self.refuse()

    def refuse(self) -> NoReturn:
        """Raise what reading it raises.

        Raises:
            TraceError: Always; names the remedy.
        """
        raise TraceError(
            f"text {self._text!r}: the policy reads the prompt, and this recording holds no prompts; "
            "record with --keep-prompts"
        )


class RecordedTable(DraftTable):
    """The table of a draft in a recording.

    Raises:
        TraceError: From every method that is asked for what was not recorded.
    """

    __slots__ = ("_drawn", "_known", "_recorded", "_rows", "ranks")

    def __init__(self, name: str, info: DraftInfo, starts: Starts, *, drawn: bool) -> None:
        match_lengths = (
            starts.match_lengths.tolist() if info.match_lengths and starts.match_lengths is not None else None
        )
        super().__init__(
            name,
            starts.offered.tolist(),
            starts.agreed.tolist(),
            match_lengths=match_lengths,
            caches=info.caches,
            short=info.short,
            signals=info.signals,
            scores=info.scores,
        )
        self._drawn = drawn
        self.ranks: Ranks | None = (
            Ranks(starts.ranks.tolist(), info.choices) if info.choices and starts.ranks is not None else None
        )
        self._known: list[int] | None = None if starts.known is None else starts.known.tolist()
        self._recorded: Mapping[Signal, Any] = starts.signals
        self._rows: dict[tuple[frozenset[Signal], int], tuple[TokenSignals, ...]] = {}

    def proposed(self, gamma: int, place: int) -> int:
        """Return how many tokens it proposes when asked for `gamma` at a place."""
        if self._known is not None and gamma > self._known[place]:
            self._unanswered(gamma, place)
        return super().proposed(gamma, place)

    def match_length(self, place: int) -> int | None:
        """Return the length of its match at a place."""
        match_length = super().match_length(place)
        if match_length == -1 and self._known is not None:
            raise TraceError(f"the trace does not know how long the drafts' matches were at {place}")
        return match_length

    def score(self, place: int, after: int) -> list[float]:
        """Return for each place of a stretch 1.0 where the first token that it proposes is right."""
        if self._known is not None:
            self._unanswered(1, place)
        if self._drawn:
            raise TraceError(
                f"the policy asks {self.name} for probabilities of tokens that others proposed, which a recording of "
                "drawn texts does not hold; record greedily, at temperature 0"
            )
        return super().score(place, after)

    def session(self, draft: RecordedDraft, prompt_tokens: int) -> RecordedDraftSession:
        """Return the draft at work on a text; it branches where it is known what its further choices were."""
        if self.ranks is None:
            return super().session(draft, prompt_tokens)
        return BranchingDraftSession(draft, prompt_tokens, self.ranks)

    def row(self, signals: frozenset[Signal], place: int, count: int) -> Sequence[TokenSignals]:
        """Return the signals of all tokens that it proposes at a place, as far as they are known."""
        row = self._rows.get((signals, place))
        if row is None:
            if len(self._rows) >= ROWS:
                self._rows.clear()
            row = self._rows[signals, place] = tuple(self._build(signals, place))
        return row

    def row_ends(self, signals: frozenset[Signal], place: int) -> NoReturn:
        """Raise what asking for signals raises that are not known."""
        raise TraceError(
            f"draft {self.name!r}: the recording does not hold {', '.join(sorted(signals))} of the tokens that it "
            f"would have drafted at {place}; policies that stop by them need signals off the path, which are recorded, "
            "but lost where agreement is drawn anew"
        )

    def _unanswered(self, gamma: int, place: int) -> NoReturn:
        raise TraceError(
            f"the trace does not know what {gamma} tokens of {self.name!r} at {place} would have led to"
        )

    def _build(self, signals: frozenset[Signal], place: int) -> list[TokenSignals]:
        missing = sorted(signals - self._recorded.keys())
        if missing:
            raise TraceError(f"draft {self.name!r}: the recording holds no signal {', '.join(missing)}")
        names = list(signals)
        columns = [self._recorded[name][place, : self.offered[place]].tolist() for name in names]
        row: list[TokenSignals] = []
        for position, values in enumerate(zip(*columns, strict=True)):
            # What is not a number, and the token -1, stand for what was not recorded.
            if any(
                value != value or (name == "token" and value < 0)  # noqa: PLR0124 - NaN is no number
                for name, value in zip(names, values, strict=True)
            ):
                break
            about: dict[str, Any] = dict(zip(names, values, strict=True))
            row.append(TokenSignals(position, **about))
        return row


class CostFactors:
    """Factors on the costs of one text against the profile, by place; see `Changes`."""

    __slots__ = ("drafts", "token_s", "verify")

    def __init__(self, text: Text, drafts: Iterable[str]) -> None:
        changes, same = text.changes, [1.0] * len(text.tokens)
        known = {} if changes is None else changes.drafts
        self.verify: list[float] = same if changes is None else changes.verify.tolist()
        self.token_s: list[float] = [0.0] * len(same) if changes is None else changes.token_s.tolist()
        self.drafts: dict[str, list[float]] = {
            name: known[name].tolist() if name in known else same for name in drafts
        }


@dataclass(frozen=True, slots=True)
class ReplayText:
    """One text of a recording with its arrays as tables, ready to be decoded again and again.

    Attributes:
        text: As recorded.
        record: Its tables.
        factors: How its costs differ from the profile; None where they do not.
    """

    text: Text
    record: RecordedText
    factors: CostFactors | None

    @classmethod
    def of(cls, text: Text, header: Header) -> ReplayText:
        """Make the tables of a text."""
        tables = {
            name: RecordedTable(name, info, text.drafts[name], drawn=header.mode == "sampled")
            for name, info in header.drafts.items()
        }
        prompt = UnkeptPrompt(text.name, text.prompt_tokens) if text.prompt is None else tuple(text.prompt)
        tokens = tuple(text.tokens)
        record = RecordedText(
            prompt=prompt,
            tokens=tokens,
            ended=text.ended,
            max_new_tokens=text.max_new_tokens,
            drafts=tables,
            # Wrong tokens come last, as many as there can be siblings.
            vocabulary=max((*tokens, *(text.prompt or ()))) + 1 + max(1, *_choices(header)),
            perplexity=text.perplexity,
        )
        return cls(text, record, None if text.changes is None else CostFactors(text, header.drafts))


def _choices(header: Header) -> list[int]:
    return [0, *(info.choices for info in header.drafts.values())]
