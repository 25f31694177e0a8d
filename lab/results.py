"""Measurements, one policy on one text, by the wall clock or in virtual time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from paceline.core.environment import require
from paceline.lab.stats import html_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from pandas import DataFrame

    from paceline.core.generation import Totals

OF_TEXT: Final = ("text", "kind", "varies", "seconds")
"""Attributes of a measurement beside its key and its totals."""

Clock = Literal["wall", "cpu", "virtual"]
"""Meaning of seconds: those that passed, those of the processor, or those predicted from a recording."""

Order = Literal["recorded", "shuffled", "by-kind", "switching"]
"""Orders of texts: as recorded; shuffled; one kind after the other; texts spliced from two kinds each."""

Start = Literal["warm", "cold"]
"""Learning: whether a policy goes on with what earlier texts taught it, or is built anew for each text."""


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
class ProcessorUse:
    """Time on the processor while something was measured by the wall clock.

    Attributes:
        seconds: Of all threads of the process.
        waited_s: For which threads were ready and had no core; None where the system does not tell.
        threads: How many were at work; likewise.
    """

    seconds: float
    waited_s: float | None = None
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """One policy on one text.

    Attributes:
        policy: Its label: "survival", "static-3".
        text, kind, varies: The text's name, its kind, and whether it neither loops nor repeats itself.
        seconds: From the prompt to the last token; in virtual time, prompts take none.
        totals: Sums over the rounds. Of a library's own decoding only the tokens and the seconds are known.
        clock: See `Clock`.
        order, start: See `Order`, `Start`.
        seed: Of the policy and of the order.
        draw: Number of the draw of the agreement, from 0; None is the one recorded.
        repeat: Number of the pass over the prompts, from 0.
        processor: Time on the processor, where a clock on the wall measured.
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
    processor: ProcessorUse | None = None

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
        self.code |= {} if code is None else {policy: code}
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
        from paceline.lab.results_file import read_stored  # noqa: PLC0415 - a file is made of results

        stored = read_stored(path)
        return stored.results.only(stored.requested)

    def write(self, path: Path | str) -> None:
        """Write a file that `read` reads.

        Raises:
            TraceError: The path or the disk does not allow it.
        """
        from paceline.lab.results_file import ResultsWriter  # noqa: PLC0415 - a file is made of results

        with ResultsWriter(path, self.source) as writer:
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
                "processor_s": measurement.processor.seconds if measurement.processor is not None else None,
                "waited_s": measurement.processor.waited_s if measurement.processor is not None else None,
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
