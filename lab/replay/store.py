"""Replays in a file: JSON lines, one a pass, written as passes end, so that a stopped replay goes on where it was.

    replay      the first line: version, and the recording it is of
    asked       the passes that were asked for, and policies that could not be tried; the last one counts
    pass        one pass
    end         every pass that was asked for is there

Passes that nobody asked for the last time stay in the file, so that asking for them again costs nothing. Every line
carries a checksum, see `paceline.lab.sealed`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

from paceline.core.errors import TraceError
from paceline.core.files import Closing, GrowingFile, input_lines, open_input
from paceline.core.json_text import parse_json
from paceline.lab.replay.passes import Key
from paceline.lab.replay.results import Order, Outcome, Pass, Replay, Start
from paceline.lab.sealed import LINE, seal, unseal
from paceline.lab.typed import check_counts, check_types

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

VERSION: Final = 2

MALFORMED: Final = (KeyError, TypeError, ValueError, AttributeError, OverflowError)

GOES_ON = "make room, then give the same command again: it goes on from the last pass"


def read_replay(path: Path | str) -> Replay:
    """Read the passes that were asked for last, as far as they are there.

    A last line that was cut off by a crash is left out, and `Replay.complete` is False.

    Raises:
        TraceError: The file is missing, empty, no replay, of another version, or damaged before its last line.
    """
    found = read_store(Path(path))
    return found.replay(found.asked)


@dataclass(slots=True)
class Store:
    """What a file of passes holds.

    Attributes:
        recording: As in `Replay`.
        passes: All of them.
        asked: What was asked for last.
        left_out: As in `Replay`.
        complete: Whether all that was asked for was finished.
        size: Bytes of whole lines; what comes after them was cut off.
    """

    recording: Mapping[str, Any] = field(default_factory=dict)
    passes: dict[Key, Pass] = field(default_factory=dict)
    asked: Sequence[Key] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    complete: bool = False
    size: int = 0

    def replay(self, asked: Sequence[Key]) -> Replay:
        """Return the passes asked for, as far as they are here; of policies left out there are none."""
        passes = [self.passes[key] for key in asked if key in self.passes and key.label not in self.left_out]
        return Replay(self.recording, passes, dict(self.left_out), self.complete)


def read_store(path: Path) -> Store:
    """Read all of a file of passes.

    Raises:
        TraceError: As `read_replay`.
    """
    store = Store()
    for number, line in _lines(path):
        try:
            if number == 1:
                _check(parse_json(line))
                store.recording = dict(unseal(line)["recording"])
            else:
                _take(unseal(line), store)
        except TraceError as error:
            raise TraceError(f"{path}:{number}: {error}") from None
        except MALFORMED as error:
            what = (
                "this is no replay; `paceline replay` makes one"
                if number == 1
                else f"this line is damaged: {error!r}"
            )
            raise TraceError(f"{path}:{number}: {what}") from error
        store.size += len(line)
    if not store.size:
        raise TraceError(f"{path}: the replay is empty; make it anew with `paceline replay --force`")
    return store


class StoreWriter(Closing):
    """Appends to a file of passes; every line is in the file once it is written.

    Args:
        path: The file; parent folders are made.
        recording: As in `Replay`; written where the file begins anew.
        size: Bytes of an existing file that are kept; 0 begins anew.

    Raises:
        TraceError: The path or the disk does not allow it, now or later.
    """

    def __init__(self, path: Path, recording: Mapping[str, Any], *, size: int = 0) -> None:
        self._file = GrowingFile(path, TraceError, keep=size, remedy=GOES_ON)
        if not size:
            self._write({"kind": "replay", "version": VERSION, "recording": recording})

    def asked(self, keys: Iterable[Key], left_out: Mapping[str, str]) -> None:
        """Write what is asked for."""
        self._write({"kind": "asked", "passes": [list(key) for key in keys], "left_out": dict(left_out)})

    def add(self, one: Pass) -> None:
        """Write a finished pass."""
        self._write({"kind": "pass", **asdict(one)})

    def end(self) -> None:
        """Write that everything is there."""
        self._write({"kind": "end"})

    def _write(self, values: Mapping[str, Any]) -> None:
        self._file.append(seal(values))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with open_input(path, TraceError) as file:
        for number, line in input_lines(file, path, TraceError, most=LINE):
            if line.endswith(b"\n"):
                yield number, line


def _check(values: Mapping[str, Any]) -> None:
    if values["kind"] != "replay":
        raise ValueError(values["kind"])
    if values["version"] != VERSION:
        raise TraceError(f"replay version {values['version']}; this paceline reads version {VERSION}")


def _take(values: Mapping[str, Any], store: Store) -> None:
    kind = values["kind"]
    if kind == "asked":
        store.asked = [Key(*key) for key in values["passes"]]
        store.left_out = dict(values["left_out"])
        store.complete = False
    elif kind == "pass":
        one = _pass(values)
        store.passes[key_of(one)] = one
    elif kind == "end":
        store.complete = True


def key_of(one: Pass) -> Key:
    """Return what tells a pass from the others."""
    return Key(one.label, one.order, one.start, one.seed, one.draw)


def _pass(values: Mapping[str, Any]) -> Pass:
    check_types(values, label=str, policy=dict, order=str, start=str, seed=int, outcomes=list)
    if values["order"] not in get_args(Order) or values["start"] not in get_args(Start):
        raise ValueError(f"order {values['order']!r}, start {values['start']!r}")
    if values.get("draw") is not None:
        check_types(values, draw=int)
    known = {key: values[key] for key in Pass.__dataclass_fields__ if key in values}
    known["outcomes"] = [_outcome(one) for one in values["outcomes"]]
    return Pass(**known)


def _outcome(values: Mapping[str, Any]) -> Outcome:
    check_types(values, text=str, kind=str, varies=bool)
    check_types(values, **dict.fromkeys(("tokens", "rounds", "drafted", "accepted"), int))
    check_types(values, **dict.fromkeys(("seconds", "draft_s", "verify_s", "score_s"), float))
    for name in ("gammas", "drafts"):
        check_counts(values[name].values(), name)
    for name in ("reached", "agreed"):
        check_counts(values[name], name)
    known = {key: values[key] for key in Outcome.__dataclass_fields__}
    known["gammas"] = {int(gamma): count for gamma, count in values["gammas"].items()}
    known["reached"], known["agreed"] = tuple(values["reached"]), tuple(values["agreed"])
    return Outcome(**known)
