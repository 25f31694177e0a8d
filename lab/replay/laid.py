"""A recorded text laid out for playing: arrays as lists, and signals as records where they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn, overload

from paceline.core.errors import TraceError
from paceline.core.records import TokenSignals

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from paceline.core.records import Signal
    from paceline.lab.recording.model import DraftInfo, Starts, Text

ROWS = 4096
"""Starts of one draft whose signals are kept as records: enough for texts of the usual length, and bounded."""


class Unkept(Sequence[int]):
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


class LaidDraft:
    """What one draft would have done to a text, from every start."""

    __slots__ = ("_rows", "_signals", "agreed", "caches", "hints", "known", "name", "offered", "short")

    def __init__(self, name: str, info: DraftInfo, starts: Starts) -> None:
        self.name = name
        self.caches = info.caches
        self.short = info.short
        self.offered: list[int] = starts.offered.tolist()
        self.agreed: list[int] = starts.agreed.tolist()
        self.known: list[int] | None = None if starts.known is None else starts.known.tolist()
        self.hints: list[int] | None = None
        if info.hints and starts.hints is not None:
            self.hints = starts.hints.tolist()
        self._signals: Mapping[Signal, Any] = starts.signals
        self._rows: dict[tuple[frozenset[Signal], int], tuple[TokenSignals | None, ...]] = {}

    def row(self, wanted: frozenset[Signal], start: int) -> tuple[TokenSignals | None, ...]:
        """Return the signals of the tokens offered from `start`, the others left out; None where one is not known.

        Raises:
            TraceError: A signal is not recorded at all.
        """
        row = self._rows.get((wanted, start))
        if row is None:
            if len(self._rows) >= ROWS:
                self._rows.clear()
            row = self._rows[wanted, start] = self._build(wanted, start)
        return row

    def unanswered(self, gamma: int, place: int) -> NoReturn:
        """Raise what asking for more than the trace knows raises.

        Raises:
            TraceError: Always.
        """
        raise TraceError(
            f"the trace does not know what {gamma} tokens of {self.name!r} at {place} would have led to"
        )

    def refuse(self, wanted: frozenset[Signal], place: int) -> NoReturn:
        """Raise what asking for signals raises that are not known.

        Raises:
            TraceError: Always.
        """
        raise TraceError(
            f"draft {self.name!r}: the recording does not hold {', '.join(sorted(wanted))} of the tokens that it "
            f"would have drafted at {place}; policies that stop by them need signals off the path, which are recorded, "
            "but lost where agreement is drawn anew"
        )

    def _build(self, wanted: frozenset[Signal], start: int) -> tuple[TokenSignals | None, ...]:
        missing = sorted(wanted - self._signals.keys())
        if missing:
            raise TraceError(f"draft {self.name!r}: the recording holds no signal {', '.join(missing)}")
        names = list(wanted)
        columns = [self._signals[name][start, : self.offered[start]].tolist() for name in names]
        found: list[TokenSignals | None] = []
        for position, values in enumerate(zip(*columns, strict=True)):
            # What is not a number, and the token -1, stand for what was not recorded.
            known = all(
                value == value and not (name == "token" and value < 0)  # noqa: PLR0124 - NaN is no number
                for name, value in zip(names, values, strict=True)
            )
            about: dict[str, Any] = dict(zip(names, values, strict=True))
            found.append(TokenSignals(position, **about) if known else None)
        return tuple(found)


class LaidChanges:
    """How the costs of one text differ from the sheet, by place, where they do; see `Changes`."""

    __slots__ = ("drafts", "token_s", "verify")

    def __init__(self, text: Text, drafts: Iterable[str]) -> None:
        changes, same = text.changes, [1.0] * len(text.tokens)
        known = {} if changes is None else changes.drafts
        self.verify: list[float] = same if changes is None else changes.verify.tolist()
        self.token_s: list[float] = [0.0] * len(same) if changes is None else changes.token_s.tolist()
        self.drafts: dict[str, list[float]] = {
            name: known[name].tolist() if name in known else same for name in drafts
        }


class Laid:
    """One text laid out for playing."""

    __slots__ = ("changes", "drafts", "prompt", "prompt_tokens", "text", "tokens")

    def __init__(self, text: Text, drafts: Mapping[str, DraftInfo]) -> None:
        self.text = text
        self.tokens = tuple(text.tokens)
        self.prompt_tokens = text.prompt_tokens
        self.prompt = None if text.prompt is None else tuple(text.prompt)
        self.drafts = {name: LaidDraft(name, info, text.drafts[name]) for name, info in drafts.items()}
        self.changes = LaidChanges(text, drafts)
