"""A file of results that can be resumed.

It is JSON lines, written as passes end, so that what was stopped goes on where it was:

    results   the first line: version, and what was measured
    wanted    the passes that were asked for, and policies that could not be measured; the last one counts
    texts     further texts of a pass, as `pass` has them; what a bench writes, which goes from text to text
    block     what a bench has to remember of a prompt on which all its modes ran
    pass      one policy over all texts: what tells it from other passes, the policy's options and code, each text
    end       every pass that was asked for is there

Passes that nobody asked for the last time stay in the file, so that asking for them again costs nothing. Every line
carries a checksum, see `paceline.lab.json_lines`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

from paceline.core.errors import TraceError
from paceline.core.files import Closing, GrowingFile, input_lines, open_input
from paceline.core.generation import Totals
from paceline.core.json_text import parse_json
from paceline.lab.json_lines import LINE, check_counts, check_types, seal, unseal
from paceline.lab.results import OF_TEXT, Clock, Key, Measurement, Order, ProcessorUse, Results, Start

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

VERSION: Final = 3

MALFORMED: Final = (KeyError, TypeError, ValueError, AttributeError, OverflowError)

RESUME: Final = "make room, then give the same command again: it goes on from the last pass"


@dataclass(slots=True)
class Stored:
    """Content of a file of results.

    Attributes:
        results: All of it.
        requested: The passes asked for last.
        size: Bytes of whole lines; what comes after them was cut off.
        blocks: What a bench has to remember, block by block.
    """

    results: Results
    requested: Sequence[Key] = ()
    size: int = 0
    blocks: list[Mapping[str, Any]] = field(default_factory=list)


def read_stored(path: Path | str) -> Stored:
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
                damaged = f"this line is damaged: {error!r}; give the command again with --force"
                what = (
                    "this is no file of results; `paceline replay` and `paceline bench` make some"
                    if number == 1
                    else damaged
                )
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

    def __init__(self, path: Path | str, source: Mapping[str, Any], *, size: int = 0) -> None:
        self._file = GrowingFile(Path(path), TraceError, keep=size, remedy=RESUME)
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
        self._write(_pass_to_json("pass", key, options, measurements, code))

    def block(
        self,
        options: Mapping[str, Mapping[str, Any]],
        measurements: Iterable[Measurement],
        remembered: Mapping[str, Any],
    ) -> None:
        """Write a text of several passes at once, and what is to be remembered of it."""
        lines = [
            _pass_to_json("texts", measurement.key, options.get(measurement.policy, {}), [measurement], None)
            for measurement in measurements
        ]
        self._file.append(b"".join(map(seal, [*lines, {"kind": "block", **remembered}])))

    def end(self) -> None:
        """Write that everything is there."""
        self._write({"kind": "end"})

    def _write(self, values: Mapping[str, Any]) -> None:
        self._file.append(seal(values))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _pass_to_json(
    kind: str,
    key: Key,
    options: Mapping[str, Any],
    measurements: Iterable[Measurement],
    code: str | None,
) -> dict[str, Any]:
    texts = [
        {
            **{name: getattr(measurement, name) for name in OF_TEXT},
            "totals": asdict(measurement.totals),
            **({} if measurement.processor is None else {"processor": asdict(measurement.processor)}),
        }
        for measurement in measurements
    ]
    return {"kind": kind, **key._asdict(), "options": options, "code": code, "texts": texts}


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
    elif kind in {"pass", "texts"}:
        check_types(values, options=dict, texts=list)
        key = _key(values)
        code = values.get("code")
        if code is not None:
            check_types(values, code=str)
        measurements = [_measurement(text, key) for text in values["texts"]]
        if kind == "texts":
            measurements = [*results.passes.get(key, ()), *measurements]
        results.replace(key, values["options"], measurements, code=code)
    elif kind == "block":
        stored.blocks.append(values)
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
        processor=_processor(values["processor"]) if "processor" in values else None,
        **key._asdict(),
    )


def _processor(values: Mapping[str, Any]) -> ProcessorUse:
    check_types(values, seconds=float)
    for name, kind in (("waited_s", float), ("threads", int)):
        if values[name] is not None:
            check_types(values, **{name: kind})
    return ProcessorUse(values["seconds"], values["waited_s"], values["threads"])


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
