"""Reference times of recorded texts: every static choice, the best of them in hindsight, and the oracle.

They follow from the recording, so that it does not matter which policies were replayed: `replay`, `regret`, `report`
and `tune` compare with the same ones. `bench` has no recording, and says the best static choice of those it ran.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from paceline.core.errors import TraceError
from paceline.lab.oracle.optimum import clairvoyant, expectation
from paceline.lab.replay.static_gamma import PLAIN, StaticGamma, best, segmented_s, token_seconds
from paceline.lab.replay.texts import Stop, text_at
from paceline.lab.short_names import static_label

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from paceline.lab.oracle.optimum import Optimum
    from paceline.lab.recording.model import Recording, Text

WINDOW = 64
"""Tokens of a segment: long enough to tell static choices apart, short against a change of kind."""

JOIN = ">"
"""Between the names of two texts that are spliced, as orders name them."""

Place = tuple[str, int | None]
"""A text, and the draw of the agreement; None is the one recorded."""


@dataclass(frozen=True, slots=True)
class BestStatic:
    """The static choice with the least seconds over some texts.

    Attributes:
        label: What tables call it: `static-4`, with the draft where it is not the first one.
        options: Its block of a run file.
        seconds: What it takes, by text; the mean over draws.
    """

    label: str
    options: Mapping[str, Any]
    seconds: Mapping[str, float]


class Hindsight:
    """Seconds of each text under every static choice and under the oracle, worked out once, when they are asked for.

    Args:
        recording: The texts; names of spliced ones are understood.
        window: Tokens of a segment; see `segmented_s`.
        on_text: Told the name of each text whose oracle is worked out, for a progress bar.
    """

    def __init__(
        self, recording: Recording, *, window: int = WINDOW, on_text: Callable[[str], None] | None = None
    ) -> None:
        self._recording, self._window, self._on_text = recording, window, on_text
        self._statics: dict[Place, Mapping[StaticGamma, float]] = {}
        self._segmented: dict[Place, float] = {}
        self._optima: dict[Place, Optimum] = {}
        self._expected: dict[Place, float] = {}

    @property
    def first_draft(self) -> str:
        """The first draft listed, which labels leave out; "" where there is none."""
        return next(iter(self._recording.header.drafts), "")

    def names(self) -> Sequence[str]:
        """Return the names of the texts, in the order of the recording; spliced ones are not among them."""
        return self._recording.texts.names()

    def statics(self, text: str, draw: int | None = None) -> Mapping[StaticGamma, float]:
        """Return the seconds of a text under every static choice.

        Raises:
            TraceError: The recording holds no such text.
        """
        place = text, draw
        if place not in self._statics:
            by_token = token_seconds(self._recording.header, text_of(self._recording, *place))
            self._statics[place] = {static: float(each.sum()) for static, each in by_token.items()}
            self._segmented[place] = segmented_s(by_token, self._window)
        return self._statics[place]

    def segmented_s(self, text: str, draw: int | None = None) -> float:
        """Return the seconds of a text if every segment took what its best static choice takes there."""
        self.statics(text, draw)
        return self._segmented[text, draw]

    def optimum(self, text: str, draw: int | None = None) -> Optimum:
        """Return the choices of the oracle, who knows every outcome, and their seconds, which no policy can beat."""
        place = text, draw
        if place not in self._optima:
            self._optima[place] = clairvoyant(text_of(self._recording, *place), self._recording.header)
            if self._on_text is not None:
                self._on_text(text)
        return self._optima[place]

    def expected_s(self, text: str, draw: int | None = None) -> float:
        """Return the least seconds on average over draws; those of the oracle where nothing was drawn."""
        if self._recording.header.mode == "greedy":
            return self.optimum(text, draw).seconds
        place = text, draw
        if place not in self._expected:
            self._expected[place] = expectation(
                text_of(self._recording, *place), self._recording.header
            ).seconds
        return self._expected[place]

    def best_static(
        self, texts: Sequence[str], draws: Sequence[int | None] = (None,), *, on: Sequence[str] | None = None
    ) -> BestStatic:
        """Return the best static choice on some texts.

        Args:
            texts: Their names.
            draws: The draws of the agreement that were replayed.
            on: Those that it is chosen on, if not all.
        """
        seconds = {text: self.static_s(text, draws) for text in texts}
        chosen = best(seconds[text] for text in (texts if on is None else on))
        return BestStatic(
            static_label(chosen.gamma, chosen.draft, self.first_draft),
            options_of(chosen),
            {text: each[chosen] for text, each in seconds.items()},
        )

    def static_s(self, text: str, draws: Sequence[int | None] = (None,)) -> dict[StaticGamma, float]:
        """Return the seconds of a text under every static choice, the mean over draws."""
        each = [self.statics(text, draw) for draw in draws]
        return {static: fmean(seconds[static] for seconds in each) for static in each[0]}

    def tuned(
        self, kinds: Mapping[str, str], draws: Sequence[int | None] = (None,)
    ) -> dict[str, StaticGamma]:
        """Return for each text the static choice that was best on the other half: what a user could have set.

        The halves take turns within each kind, in the order of the recording, so that both hold every kind.

        Args:
            kinds: The kind of each text, by name.
            draws: The draws of the agreement that were replayed.
        """
        # One after the other through all kinds, so that an odd number of texts in each does not add up.
        places = {name: place for place, name in enumerate(self.names())}
        ordered = sorted(kinds, key=lambda text: (kinds[text], places.get(text, len(places)), text))
        halves = ordered[::2], ordered[1::2]
        chosen = [best(self.static_s(text, draws) for text in half) if half else PLAIN for half in halves]
        return {text: chosen[1 - side] for side, half in enumerate(halves) for text in half}


def options_of(static: StaticGamma) -> dict[str, Any]:
    """Return the block of a run file that plans a static choice."""
    return {"name": "static", "gamma": static.gamma, **({"draft": static.draft} if static.gamma else {})}


def text_of(recording: Recording, name: str, draw: int | None = None) -> Text:
    """Return a text by the name that results give it, spliced ones too, in a draw of the agreement.

    Raises:
        TraceError: The recording holds no such text.
    """
    names = recording.texts.names()
    if name in names:
        return text_at(recording, Stop(name), draw)
    for place in (place for place, letter in enumerate(name) if letter == JOIN):
        first, second = name[:place], name[place + 1 :]
        if first in names and second in names:
            return text_at(recording, Stop(first, second), draw)
    raise TraceError(
        f"the replay has a text {name!r} that the recording lacks; give the recording that was replayed"
    )
