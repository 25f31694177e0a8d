"""Texts as a replay meets them: in an order, spliced from two, with agreement drawn anew.

Given the text, a draft that depends on the context alone is accepted at each place with a probability of its own,
independently of all other places (`paceline.lab.recording.model`). One draw of all places is one way in which the
rounds could have gone; the recording holds one, and as many more can be had as are wanted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

import numpy as np

from paceline.core.errors import TraceError
from paceline.lab.recording.model import Changes, Starts, Text
from paceline.lab.replay.tables import CostFactors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from paceline.core.records import Signal
    from paceline.lab.recording.model import Header, Recording
    from paceline.lab.results import Order

OF_PLACE: Final[tuple[Signal, ...]] = ("top1", "entropy", "margin")
"""Signals of the distribution at a place, which is the same whatever is drawn from it."""


@dataclass(frozen=True, slots=True)
class Stop:
    """One text on the way.

    Attributes:
        text: Its name.
        then: The text of which the second half is taken, where two are spliced.
    """

    text: str
    then: str | None = None


@dataclass(frozen=True, slots=True)
class Brief:
    """Facts about a text that ordering needs."""

    name: str
    kind: str
    tokens: int


def briefs(recording: Recording) -> list[Brief]:
    """Read through a recording for what ordering needs."""
    return [Brief(text.name, text.kind, len(text.tokens)) for text in recording]


def ordered(texts: Sequence[Brief], order: Order, *, seed: int = 0) -> list[Stop]:
    """Return the way through the texts.

    Shuffled orders depend on the seed. Kinds follow one another as they first occur, their texts as recorded. Where
    texts switch, each is followed into its second half by one of another kind, chosen by the seed.

    Raises:
        TraceError: Texts shall switch, and there is none that another kind could go on with.
    """
    random = Random(f"order/{seed}")
    if order == "recorded":
        return [Stop(text.name) for text in texts]
    if order == "shuffled":
        mixed = list(texts)
        random.shuffle(mixed)
        return [Stop(text.name) for text in mixed]
    if order == "by-kind":
        places = {kind: place for place, kind in enumerate(dict.fromkeys(text.kind for text in texts))}
        return [Stop(text.name) for text in sorted(texts, key=lambda text: places[text.kind])]
    mixed, stops = list(texts), []
    random.shuffle(mixed)
    for text in mixed:
        others = [two for two in texts if two.kind != text.kind and two.tokens > half(text.tokens)]
        if half(text.tokens) and others:
            stops.append(Stop(text.name, random.choice(others).name))
    if not stops:
        raise TraceError(
            "no text can switch to another kind: the recording holds one kind of prompt only, or texts too short; "
            "leave out the order `switching`"
        )
    return stops


def half(tokens: int) -> int:
    """Return how many tokens of a text come before it switches."""
    return tokens // 2


def text_at(recording: Recording, stop: Stop, draw: int | None = None) -> Text:
    """Return the text of a stop, in a draw of the agreement; each part is drawn anew before they are spliced."""
    texts = [recording.texts[name] for name in (stop.text, stop.then) if name is not None]
    if draw is not None:
        # The number of the draw is its seed, so that every policy and every order meets the same draws.
        texts = [drawn(text, recording.header, seed=draw) for text in texts]
    return texts[0] if stop.then is None else spliced(*texts)


def spliced(first: Text, second: Text) -> Text:
    """Return the first half of one text followed by what another has from the same position on.

    What a draft proposed before the switch goes on with the first text, so it is refused at the switch. Positions,
    contexts and lags count on; prompt and perplexity are those of the first text. Where tokens were drawn, the spliced
    text holds the draws alone: probabilities would run on over the switch.
    """
    at = half(len(first.tokens))
    if not 0 < at < len(second.tokens):
        raise TraceError(
            f"{first.name!r} cannot switch to {second.name!r} at token {at}: that text is too short"
        )
    return replace(
        second,
        name=f"{first.name}>{second.name}",
        kind=f"{first.kind}>{second.kind}",
        prompt_sha256=first.prompt_sha256,
        prompt_tokens=first.prompt_tokens,
        prompt=first.prompt,
        perplexity=first.perplexity,
        tokens=(*first.tokens[:at], *second.tokens[at:]),
        varies=first.varies and second.varies,
        drafts={name: _joined(starts, second.drafts[name], at) for name, starts in first.drafts.items()},
        changes=_changed(first, second, at),
    )


def _changed(first: Text, second: Text, at: int) -> Changes | None:
    if first.changes is None and second.changes is None:
        return None
    before, after = (CostFactors(text, first.drafts) for text in (first, second))

    def join(before: Sequence[float], after: Sequence[float]) -> NDArray[np.float32]:
        return np.array([*before[:at], *after[at:]], np.float32)

    return Changes(
        join(before.verify, after.verify),
        join(before.token_s, after.token_s),
        {name: join(factors, after.drafts[name]) for name, factors in before.drafts.items()},
    )


def _joined(first: Starts, second: Starts, at: int) -> Starts:
    left = np.arange(at, 0, -1)  # tokens before the switch
    match_lengths = None
    if first.match_lengths is not None and second.match_lengths is not None:
        match_lengths = np.concatenate([first.match_lengths[:at], second.match_lengths[at:]])
    return Starts(
        offered=np.concatenate([first.offered[:at], second.offered[at:]]),
        agreed=np.concatenate([np.minimum(first.agreed[:at], left).astype(np.int16), second.agreed[at:]]),
        match_lengths=match_lengths,
        ranks=None
        if first.ranks is None or second.ranks is None
        else np.concatenate([first.ranks[:at], second.ranks[at:]]),
        signals={
            signal: np.concatenate([known[:at], second.signals[signal][at:]])
            for signal, known in first.signals.items()
        },
    )


def check_drawn(header: Header) -> None:
    """Refuse to draw anew what is certain.

    Raises:
        TraceError: The recording is greedy.
    """
    if header.mode != "sampled":
        raise TraceError(
            "this recording is greedy, so that nothing can be drawn anew; leave out --draws (in "
            "Python, `draws`), or record at a "
            "temperature above 0"
        )


def drawn(text: Text, header: Header, *, seed: int) -> Text:
    """Return a text with the agreement of drafts that have probabilities drawn anew, from the seed and the text's name.

    Drafts without probabilities propose one token for certain, which the text shows to be accepted or not. Of the
    signals those stay that hold whatever was drawn, along the text itself; what would have been drafted after a refusal
    is another draw, of which nothing is known.
    """
    random = np.random.default_rng([seed, crc32(text.name.encode())])
    drafts = {name: _redrawn(starts, header.longest, random) for name, starts in text.drafts.items()}
    return replace(text, drafts=drafts)


def _redrawn(starts: Starts, longest: int, random: np.random.Generator) -> Starts:
    if starts.acceptance_probs is None:
        return starts
    bits = random.random(len(starts.acceptance_probs)) < starts.acceptance_probs
    agreed = np.minimum(runs(bits), starts.offered).astype(np.int16)
    signals = {signal: _on_path(signal, known, agreed, longest) for signal, known in starts.signals.items()}
    return replace(starts, agreed=agreed, signals=signals, ranks=None)


def runs(bits: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return for each place how many bits from there on are set in a row."""
    count = len(bits)
    refusals = np.where(bits, count, np.arange(count))
    lengths: NDArray[np.int64] = np.minimum.accumulate(refusals[::-1])[::-1] - np.arange(count)
    return lengths


def _on_path(signal: Signal, known: Any, agreed: NDArray[np.int16], longest: int) -> Any:
    """Return what is still known of a signal: column k of a start is about place start + k while all before agreed."""
    unknown = -1 if signal == "token" else np.nan
    rows = np.full((len(agreed), longest), unknown, known.dtype)
    if signal not in OF_PLACE:
        return rows
    count = len(agreed)
    for column in range(min(longest, count)):
        valid = agreed[: count - column] >= column
        rows[: count - column, column] = np.where(valid, known[column:, 0], unknown)
    return rows
