"""Facts that a recording adds to its replay: oracle, acceptance by place, latency profile, and origin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from paceline.core.plugins.catalogue import Catalogue
from paceline.lab.oracle.optimum import clairvoyant
from paceline.lab.regret.hindsight import hindsight
from paceline.lab.report.findings import Check, Positions, Prices
from paceline.lab.report.gather import Known
from paceline.lab.report.rounds import Rounds
from paceline.lab.validation import validate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from paceline.lab.oracle.optimum import Optimum
    from paceline.lab.recording.latency import LatencyProfile
    from paceline.lab.recording.model import Recording


def _nothing(_text: str) -> None:
    pass


def known(
    recording: Recording,
    *,
    source: Mapping[str, str],
    on_text: Callable[[str], None] = _nothing,
) -> Known:
    """Work out what the recording can tell.

    Args:
        recording: That of the replay.
        source: Where the numbers come from, for the page.
        on_text: Called with the name of each text as its optimum is known.
    """
    header = recording.header
    optima: dict[str, Optimum] = {}
    reached = {name: np.zeros(header.longest, dtype=np.int64) for name in header.drafts}
    agreed = {name: np.zeros(header.longest, dtype=np.int64) for name in header.drafts}
    for text in recording:
        optima[text.name] = clairvoyant(text, header)
        left = np.arange(len(text.tokens), 0, -1)
        for name, starts in text.drafts.items():
            for place in range(header.longest):
                # A text that ends first says nothing about the places beyond.
                tried = (starts.offered > place) & (starts.agreed >= place) & (left > place)
                reached[name][place] += int(tried.sum())
                agreed[name][place] += int((tried & (starts.agreed > place)).sum())
        on_text(text.name)
    return Known(
        oracle={name: one.seconds for name, one in optima.items()},
        statics=hindsight(recording),
        timelines=Rounds(recording, optima),
        positions=[Positions(name, reached[name].tolist(), agreed[name].tolist()) for name in header.drafts],
        checks=[
            Check(one.label, one.texts, one.predicted, one.measured)
            for one in validate(recording, Catalogue.load()).predictions
        ],
        prices=_prices(header.costs),
        machine=dict(_flat(header.run)),
        source=source,
        made_up=header.made_up,
        sampled=header.mode == "sampled",
    )


def _prices(profile: LatencyProfile) -> Prices:
    return Prices(
        verify=dict(sorted(profile.verify.items())),
        draft={name: dict(sorted(one.tokens.items())) for name, one in profile.drafts.items()},
        catch_up={name: dict(sorted(one.catch_up.items())) for name, one in profile.drafts.items()},
        context=profile.context,
        context_s=profile.context_s,
        overhead_s=profile.overhead_s,
    )


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Yield every value under its dotted key, as text; what is empty is left out."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        elif isinstance(value, list | tuple):
            if value:
                yield f"{before}{key}", ", ".join(map(str, value))
        elif value is not None and value != "":
            yield f"{before}{key}", str(value)
