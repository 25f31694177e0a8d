"""What each text would have taken otherwise: plain decoding, every static choice, and the optimum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from paceline.lab.oracle.optimum import clairvoyant, expectation
from paceline.lab.oracle.static import PLAIN, Static, best, segmented_s, statics
from paceline.lab.regret.hindsight import text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from paceline.lab.recording.model import Header, Recording, Text

WINDOW = 64
"""Tokens of a segment: long enough to tell static choices apart, short against a change of kind."""


@dataclass(frozen=True, slots=True)
class Yardstick:
    """One text, otherwise.

    Attributes:
        text, kind, varies, tokens: Of the text.
        statics: Seconds under every static choice.
        segmented_s: Seconds if every segment took what its best static choice takes there.
        oracle_s: Seconds of the clairvoyant optimum, which no policy can beat.
        exact: Whether some choices reach it; see `Optimum.exact`.
        expected_s: Where tokens were drawn, the least seconds on average over draws; else as `oracle_s`.
    """

    text: str
    kind: str
    varies: bool
    tokens: int
    statics: Mapping[Static, float]
    segmented_s: float
    oracle_s: float
    exact: bool
    expected_s: float

    @property
    def plain_s(self) -> float:
        """Seconds of plain decoding."""
        return self.statics[PLAIN]


def yardstick(text: Text, header: Header, *, window: int = WINDOW) -> Yardstick:
    """Measure one text."""
    found = statics(text, header)
    optimum = clairvoyant(text, header)
    expected_s = optimum.seconds if header.mode == "greedy" else expectation(text, header).seconds
    return Yardstick(
        text=text.name,
        kind=text.kind,
        varies=text.varies,
        tokens=len(text.tokens),
        statics={static: float(each.sum()) for static, each in found.items()},
        segmented_s=segmented_s(found, window),
        oracle_s=optimum.seconds,
        exact=optimum.exact,
        expected_s=expected_s,
    )


def yardsticks(
    recording: Recording,
    texts: Iterable[str] | None = None,
    *,
    draw: int | None = None,
    window: int = WINDOW,
    on_text: Callable[[str], None] | None = None,
) -> dict[str, Yardstick]:
    """Measure texts by name, all of a recording unless some are named; names of spliced texts are understood.

    Args:
        recording: It holds the texts.
        texts: Names, as outcomes of a replay give them.
        draw: Which draw of the agreement is meant, as `Pass.draw` numbers them; None is the one recorded.
        window: Tokens of a segment.
        on_text: Told the name of each text that is done, for a progress bar.

    Raises:
        TraceError: The recording holds no such text.
    """
    found: dict[str, Yardstick] = {}
    for name in dict.fromkeys(recording.texts.names() if texts is None else texts):
        found[name] = yardstick(text_of(recording, name, draw), recording.header, window=window)
        if on_text is not None:
            on_text(name)
    return found


@dataclass(frozen=True, slots=True)
class Rivals:
    """The best static choices, by how much somebody who sets them would have to know.

    Attributes:
        overall: For all texts, in hindsight.
        by_kind: For all texts of one kind, in hindsight.
        by_text: For each text, in hindsight.
        tuned: For each text, what was best on the other half of the texts: what a user could have set.
    """

    overall: Static
    by_kind: Mapping[str, Static]
    by_text: Mapping[str, Static]
    tuned: Mapping[str, Static]


def rivals(known: Mapping[str, Yardstick]) -> Rivals:
    """Choose the best static choices for some texts.

    The halves for tuning take turns within each kind, in the order given, so that both hold every kind.
    """
    listed = list(known.values())
    halves = _halves(listed)
    chosen = [best(one.statics for one in half) if half else PLAIN for half in halves]
    return Rivals(
        overall=best(one.statics for one in listed),
        by_kind={
            kind: best(one.statics for one in listed if one.kind == kind)
            for kind in dict.fromkeys(one.kind for one in listed)
        },
        by_text={one.text: best([one.statics]) for one in listed},
        tuned={one.text: chosen[1 - side] for side, half in enumerate(halves) for one in half},
    )


def _halves(listed: Sequence[Yardstick]) -> tuple[list[Yardstick], list[Yardstick]]:
    # One after the other through all kinds, so that an odd number of texts in each does not add up.
    sorted_by_kind = sorted(listed, key=lambda one: one.kind)
    return sorted_by_kind[::2], sorted_by_kind[1::2]
