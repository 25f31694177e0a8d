"""Measurements, one policy on one text, by the wall clock or in virtual time; and a file of them that can be resumed.

The file is JSON lines, written as passes end, so that what was stopped goes on where it was:

    results   the first line: version, and what was measured
    wanted    the passes that were asked for, and policies that could not be measured; the last one counts
    pass      one policy over all texts: what tells it from other passes, the policy's options and code, each text
    end       every pass that was asked for is there

Passes that nobody asked for the last time stay in the file, so that asking for them again costs nothing. Every line
carries a checksum, see `paceline.lab.json_lines`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, get_args

from paceline.core.environment import require
from paceline.core.errors import TraceError
from paceline.core.files import Closing, GrowingFile, input_lines, open_input
from paceline.core.generation import Totals
from paceline.core.json_text import parse_json
from paceline.lab.json_lines import LINE, check_counts, check_types, seal, unseal
from paceline.lab.stats import html_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pandas import DataFrame

VERSION: Final = 3

MALFORMED: Final = (KeyError, TypeError, ValueError, AttributeError, OverflowError)

RESUME: Final = "make room, then give the same command again: it goes on from the last pass"

OF_TEXT: Final = ("text", "kind", "varies", "seconds")
"""Attributes of a measurement beside its key and its totals."""

Clock = Literal["wall", "virtual"]

Order = Literal["recorded", "shuffled", "by-kind", "switching"]
"""Orders of texts: as recorded; shuffled; one kind after the other; texts spliced from two kinds each."""

Start = Literal["warm", "cold"]
"""Whether a policy goes on with what earlier texts taught it, or is built anew for each text."""


class Key(NamedTuple):
    """The attributes that tell one pass, a policy over all texts, from the others; as in `Measurement`."""

    policy: str
    clock: Clock = "virtual"
    order: Order = "recorded"
    start: Start = "warm"
    seed: int = 0
    draw: int | None = None
    repeat: int = 0


@dataclass(frozen=True, slots=True)
class Measurement:
    """One policy on one text.

    Attributes:
        policy: Its label: "survival", "static-3".
        text, kind, varies: The text's name, its kind, and whether it neither loops nor repeats itself.
        seconds: From the prompt to the last token; in virtual time, prompts take none.
        totals: Sums over the rounds. Of a library's own decoding only the tokens and the seconds are known.
        clock: Whether seconds passed, or were predicted from a recording.
        order, start: See `Order`, `Start`.
        seed: Of the policy and of the order.
        draw: Number of the draw of the agreement, from 0; None is the one recorded.
        repeat: Number of the pass over the prompts, from 0.
    """

    policy: str
    text: str
    kind: str
    varies: bool
    seconds: float
    totals: Totals
    clock: Clock = "virtual"
    order: Order = "recorded"
    start: Start = "warm"
    seed: int = 0
    draw: int | None = None
    repeat: int = 0

    @property
    def key(self) -> Key:
        """The pass that it belongs to."""
        return Key(self.policy, self.clock, self.order, self.start, self.seed, self.draw, self.repeat)

    @property
    def tokens(self) -> int:
        """Tokens delivered."""
        return self.totals.emitted


@dataclass(slots=True, repr=False)
class Results:
    """Measurements, by pass and text.

    Attributes:
        source: What was measured: path, sha256 and header of a recording, or the configuration of a bench.
        options: Of each policy by label, as JSON-able values.
        code: Likewise a fingerprint of its code, where that is known.
        left_out: Policies that could not be measured, by label, with the reason.
        complete: Whether everything that was asked for is there.
        passes: By key, the measurements in the order the texts were decoded.
    """

    source: Mapping[str, Any] = field(default_factory=dict)
    options: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    complete: bool = True
    passes: dict[Key, list[Measurement]] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)

    def append(self, *measurements: Measurement) -> None:
        """Add measurements; each goes to the end of its pass."""
        for measurement in measurements:
            self.passes.setdefault(measurement.key, []).append(measurement)

    def replace(
        self,
        key: Key,
        options: Mapping[str, Any],
        measurements: Iterable[Measurement],
        *,
        code: str | None = None,
    ) -> None:
        """Set a pass; where its label stood for other options or other code before, the passes with those are gone."""
        policy = key.policy
        if policy in self.options and (self.options[policy], self.code.get(policy)) != (options, code):
            self.passes = {
                other: listed for other, listed in self.passes.items() if other.policy != key.policy
            }
            self.code.pop(key.policy, None)
        self.options[key.policy] = options
        if code is not None:
            self.code[key.policy] = code
        self.passes[key] = list(measurements)

    def __iter__(self) -> Iterator[Measurement]:
        """Go through all measurements, pass by pass."""
        for listed in self.passes.values():
            yield from listed

    def __len__(self) -> int:
        return sum(map(len, self.passes.values()))

    def __repr__(self) -> str:
        counts = f"{len(self.policies())} policies on {len(self.texts())} texts in {len(self.passes)} passes"
        return f"<Results: {counts}{'' if self.complete else ', not complete'}>"

    def where(self, **keys: Any) -> Results:
        """Return the results of some passes: `where(order="shuffled", start="warm")`.

        Raises:
            TypeError: A name is none of `Key`'s.
        """
        if unknown := keys.keys() - set(Key._fields):
            raise TypeError(f"passes have no {min(unknown)!r}; they have {', '.join(Key._fields)}")
        passes = {
            key: listed
            for key, listed in self.passes.items()
            if all(getattr(key, name) == value for name, value in keys.items())
        }
        return replace(self, passes=passes)

    def only(self, keys: Iterable[Key]) -> Results:
        """Return the results of these passes, as far as they are there; of policies left out there are none."""
        passes = {
            key: self.passes[key] for key in keys if key in self.passes and key.policy not in self.left_out
        }
        return replace(self, passes=passes)

    def policies(self) -> list[str]:
        """Return the labels of the policies that were measured."""
        return list(dict.fromkeys(key.policy for key in self.passes))

    def texts(self) -> list[str]:
        """Return the names of the texts, in the order in which they first come."""
        return list(dict.fromkeys(measurement.text for measurement in self))

    @classmethod
    def read(cls, path: Path | str) -> Results:
        """Read the passes that were asked for last, as far as they are there.

        A last line that was cut off by a crash is left out, and `complete` is False.

        Raises:
            TraceError: The file is missing, empty, of another kind or version, or damaged before its last line.
        """
        stored = read_stored(Path(path))
        return stored.results.only(stored.requested)

    def write(self, path: Path | str) -> None:
        """Write a file that `read` reads.

        Raises:
            TraceError: The path or the disk does not allow it.
        """
        with ResultsWriter(Path(path), self.source) as writer:
            writer.request(self.passes, self.left_out)
            for key, listed in self.passes.items():
                writer.add(key, self.options.get(key.policy, {}), listed, code=self.code.get(key.policy))
            if self.complete:
                writer.end()

    def to_pandas(self) -> DataFrame:
        """Return a data frame with one row for each measurement.

        Raises:
            PacelineError: pandas is not installed.
        """
        require("pandas")
        from pandas import DataFrame  # noqa: PLC0415 - optional, and heavy

        return DataFrame(
            {
                **{name: getattr(measurement, name) for name in ("policy", *OF_TEXT, *Key._fields[1:])},
                "tokens": measurement.tokens,
                **{
                    "decode_s" if name == "seconds" else name: value
                    for name, value in asdict(measurement.totals).items()
                },
            }
            for measurement in self
        )

    def _repr_html_(self) -> str:
        rows = []
        for policy in self.policies():
            if listed := list(measured := self.where(policy=policy)):
                rate = sum(each.tokens for each in listed) / sum(each.seconds for each in listed)
                rows.append((policy, str(len(measured.texts())), str(len(measured.passes)), f"{rate:.1f}"))
        return html_table(("policy", "texts", "passes", "tokens/s"), rows)


@dataclass(slots=True)
class Stored:
    """Content of a file of results.

    Attributes:
        results: All of it.
        requested: The passes asked for last.
        size: Bytes of whole lines; what comes after them was cut off.
    """

    results: Results
    requested: Sequence[Key] = ()
    size: int = 0


def read_stored(path: Path) -> Stored:
    """Read all of a file of results.

    Raises:
        TraceError: As `Results.read`.
    """
    stored = Stored(Results(complete=False))
    with open_input(path, TraceError) as file:
        for number, line in input_lines(file, path, TraceError, most=LINE):
            if not line.endswith(b"\n"):
                break
            try:
                if number == 1:
                    _check(parse_json(line))
                    stored.results.source = dict(unseal(line)["source"])
                else:
                    _take(unseal(line), stored)
            except TraceError as error:
                raise TraceError(f"{path}:{number}: {error}") from None
            except MALFORMED as error:
                damaged = (
                    f"this line is damaged: {error!r}; make the file anew with `paceline replay --force`"
                )
                what = "this is no file of results; `paceline replay` makes one" if number == 1 else damaged
                raise TraceError(f"{path}:{number}: {what}") from error
            stored.size += len(line)
    if not stored.size:
        raise TraceError(f"{path}: the file of results is empty; make it anew with `paceline replay --force`")
    return stored


class ResultsWriter(Closing):
    """Appends to a file of results; every line is in the file once it is written.

    Args:
        path: The file; parent folders are made.
        source: As in `Results`; written where the file begins anew.
        size: Bytes of an existing file that are kept; 0 begins anew.

    Raises:
        TraceError: The path or the disk does not allow it, now or later.
    """

    def __init__(self, path: Path, source: Mapping[str, Any], *, size: int = 0) -> None:
        self._file = GrowingFile(path, TraceError, keep=size, remedy=RESUME)
        if not size:
            self._write({"kind": "results", "version": VERSION, "source": source})

    def request(self, keys: Iterable[Key], left_out: Mapping[str, str]) -> None:
        """Write what is asked for."""
        self._write({"kind": "wanted", "passes": [list(key) for key in keys], "left_out": dict(left_out)})

    def add(
        self,
        key: Key,
        options: Mapping[str, Any],
        measurements: Iterable[Measurement],
        *,
        code: str | None = None,
    ) -> None:
        """Write a finished pass."""
        texts = [
            {**{name: getattr(measurement, name) for name in OF_TEXT}, "totals": asdict(measurement.totals)}
            for measurement in measurements
        ]
        self._write({"kind": "pass", **key._asdict(), "options": options, "code": code, "texts": texts})

    def end(self) -> None:
        """Write that everything is there."""
        self._write({"kind": "end"})

    def _write(self, values: Mapping[str, Any]) -> None:
        self._file.append(seal(values))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _check(values: Mapping[str, Any]) -> None:
    if values["kind"] not in {"results", "replay"}:
        raise ValueError(values["kind"])
    if values["version"] != VERSION:
        raise TraceError(
            f"results of version {values['version']}; this paceline reads version {VERSION}: make them anew with "
            "`paceline replay --force`"
        )


def _take(values: Mapping[str, Any], stored: Stored) -> None:
    kind, results = values["kind"], stored.results
    if kind == "wanted":
        stored.requested = [_key(dict(zip(Key._fields, key, strict=True))) for key in values["passes"]]
        results.left_out = dict(values["left_out"])
        results.complete = False
    elif kind == "pass":
        check_types(values, options=dict, texts=list)
        key = _key(values)
        code = values.get("code")
        if code is not None:
            check_types(values, code=str)
        measurements = [_measurement(text, key) for text in values["texts"]]
        results.replace(key, values["options"], measurements, code=code)
    elif kind == "end":
        results.complete = True


def _key(values: Mapping[str, Any]) -> Key:
    check_types(values, policy=str, seed=int, repeat=int)
    for name, allowed in (("clock", Clock), ("order", Order), ("start", Start)):
        if values[name] not in get_args(allowed):
            raise ValueError(f"{name} {values[name]!r}")
    if values["draw"] is not None:
        check_types(values, draw=int)
    return Key(**{name: values[name] for name in Key._fields})


def _measurement(values: Mapping[str, Any], key: Key) -> Measurement:
    check_types(values, text=str, kind=str, varies=bool, seconds=float, totals=dict)
    return Measurement(
        **{name: values[name] for name in OF_TEXT},
        totals=_totals(values["totals"]),
        **key._asdict(),
    )


def _totals(values: Mapping[str, Any]) -> Totals:
    check_types(values, **dict.fromkeys(("rounds", "drafted", "accepted", "emitted"), int))
    check_types(values, **dict.fromkeys(("prefill_s", "draft_s", "verify_s", "seconds", "score_s"), float))
    for name in ("gammas", "drafts"):
        check_counts(values[name].values(), name)
    for name in ("reached", "agreed"):
        check_counts(values[name], name)
    return Totals(
        **{
            **{name: values[name] for name in Totals.__dataclass_fields__},
            "gammas": {int(gamma): count for gamma, count in values["gammas"].items()},
            "reached": tuple(values["reached"]),
            "agreed": tuple(values["agreed"]),
        }
    )
