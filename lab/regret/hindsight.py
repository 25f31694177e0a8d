"""The best static choice in hindsight: of all drafts with all gammas, and plain decoding, never of those tried alone.

`replay`, `regret`, `report` and `tune` compare with it. What a static choice takes follows from the recording, so that
it does not matter which of them were replayed. `bench` has no recording, and says the best of those it ran.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from paceline.core.errors import TraceError
from paceline.lab.oracle.static import Static, best, statics
from paceline.lab.policies import static_label
from paceline.lab.replay.draws import drawn
from paceline.lab.replay.orders import spliced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from paceline.lab.recording.model import Recording, Text

Seconds = dict[Static, float]
"""Of one text, under every static choice."""


JOIN = ">"
"""Between the names of two texts that are spliced, as orders name them."""


@dataclass(frozen=True, slots=True)
class BestStatic:
    """The static choice with the least seconds over some texts.

    Attributes:
        label: What tables call it: `static-4`, with the draft where it is not the first one.
        policy: Its block of a run file.
        seconds: What it takes, by text; the mean over draws.
    """

    label: str
    policy: Mapping[str, Any]
    seconds: Mapping[str, float]


class Hindsight:
    """What every static choice would have taken on texts, worked out when it is asked for.

    Args:
        seconds: Returns it for a text, and a draw of the agreement; None is the one recorded.
        drafts: Names of the drafts, in the order listed.
    """

    def __init__(
        self, seconds: Callable[[str, int | None], Mapping[Static, float]], drafts: Iterable[str]
    ) -> None:
        self._work_out = seconds
        self._first = next(iter(drafts), "")
        self._known: dict[tuple[str, int | None], Mapping[Static, float]] = {}

    def best(
        self, texts: Sequence[str], draws: Iterable[int | None] = (None,), *, on: Sequence[str] | None = None
    ) -> BestStatic:
        """Return the best static choice on some texts.

        Args:
            texts: Names, as outcomes of a replay give them.
            draws: The draws of the agreement that were replayed.
            on: Those that it is chosen on, if not all.
        """
        every = tuple(dict.fromkeys(draws))
        means = {text: self._mean(text, every) for text in texts}
        found = best(means[text] for text in (texts if on is None else on))
        return BestStatic(
            static_label(found.gamma, found.draft or None, self._first),
            block_of(found),
            {text: mean[found] for text, mean in means.items()},
        )

    def _mean(self, text: str, draws: Sequence[int | None]) -> Seconds:
        each = [self._of(text, draw) for draw in draws]
        return {static: fmean(one[static] for one in each) for static in each[0]}

    def _of(self, text: str, draw: int | None) -> Mapping[Static, float]:
        if (text, draw) not in self._known:
            self._known[text, draw] = self._work_out(text, draw)
        return self._known[text, draw]


def hindsight(recording: Recording) -> Hindsight:
    """Return the hindsight of a recording; names of spliced texts are understood."""

    def seconds(name: str, draw: int | None) -> Seconds:
        found = statics(text_of(recording, name, draw), recording.header)
        return {static: float(each.sum()) for static, each in found.items()}

    return Hindsight(seconds, recording.header.drafts)


def block_of(static: Static) -> dict[str, Any]:
    """Return the block of a run file that plans it."""
    return {"name": "static", "gamma": static.gamma, **({"draft": static.draft} if static.gamma else {})}


def text_of(recording: Recording, name: str, draw: int | None = None) -> Text:
    """Return a text by the name that outcomes of a replay give it, spliced ones too, in a draw of the agreement.

    Raises:
        TraceError: The recording holds no such text.
    """
    names = recording.texts.names()

    def known(one: str) -> Text:
        text = recording.texts[one]
        return text if draw is None else drawn(text, recording.header, seed=draw)

    if name in names:
        return known(name)
    for place in (place for place, letter in enumerate(name) if letter == JOIN):
        first, second = name[:place], name[place + 1 :]
        if first in names and second in names:
            return spliced(known(first), known(second))
    raise TraceError(
        f"the replay has a text {name!r} that the recording lacks; give the recording that was replayed"
    )
