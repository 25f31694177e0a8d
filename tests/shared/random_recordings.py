"""Random recordings as a hypothesis strategy: small, lawful, and otherwise as odd as the format allows."""

from __future__ import annotations

import hashlib
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import strategies as st

from paceline.lab.recording.latency import DraftTimes, LatencyProfile
from paceline.lab.recording.model import Changes, DraftInfo, Header, Recording, Starts, Text, TextsInMemory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hypothesis.strategies import DrawFn, SearchStrategy

    from paceline.core.records import Signal

END = 10
"""The token that ends texts, and stands nowhere else in them."""

INFOS = {
    "model": DraftInfo(caches=True, short=1, signals=frozenset({"top1"}), match_lengths=False, scores=True),
    "other": DraftInfo(caches=True, short=1, signals=frozenset(), match_lengths=False, scores=True),
    "mute": DraftInfo(caches=True, short=1, signals=frozenset(), match_lengths=False, scores=False),
    "head": DraftInfo(
        caches=False, short=0, signals=frozenset({"prob", "entropy"}), match_lengths=False, scores=False
    ),
    "lookup": DraftInfo(caches=False, short=0, signals=frozenset({"token"}), match_lengths=True, scores=True),
}
"""The drafts that a random recording may have: models with a cache, a head without one, and a lookup."""


@st.composite
def lab_recordings(
    draw: DrawFn,
    *,
    drafts: Sequence[str] | None = None,
    sampled: bool | None = None,
    longest: int = 5,
    most_tokens: int = 14,
    texts: int = 3,
) -> Recording:
    """Draw a recording.

    Args:
        draw: Hypothesis gives it.
        drafts: Keys of `INFOS`; None leaves them to chance.
        sampled: Whether tokens were drawn; None leaves it to chance.
        longest: The most that `Header.longest` can be.
        most_tokens: The most tokens of a text.
        texts: The most texts; there is at least one.
    """
    names = (
        drafts
        if drafts is not None
        else draw(st.lists(st.sampled_from(sorted(INFOS)), min_size=1, max_size=3, unique=True))
    )
    drawn = draw(st.booleans()) if sampled is None else sampled
    reach = draw(st.integers(1, longest))
    header = Header(
        run={"made": "by chance"},
        longest=reach,
        mode="sampled" if drawn else "greedy",
        drafts={name: INFOS[name] for name in names},
        costs=draw(_profiles(names, reach)),
        made_up=True,
    )
    count = draw(st.integers(1, texts))
    kinds = draw(st.lists(st.sampled_from(["code", "prose"]), min_size=count, max_size=count))
    made = [draw(_texts(f"{kind}/{number}", kind, header, most_tokens)) for number, kind in enumerate(kinds)]
    return Recording(header, (), TextsInMemory(made))


def _seconds(low: float, high: float) -> SearchStrategy[float]:
    # Sixty-fourths add up without rounding, so that sums can be compared exactly.
    return st.integers(round(low * 64), round(high * 64)).map(lambda units: units / 64)


@st.composite
def _profiles(draw: DrawFn, names: Sequence[str], longest: int) -> LatencyProfile:
    lengths = sorted(draw(st.sets(st.integers(2, longest + 2), max_size=2)))
    steps = [draw(_seconds(0.5, 2)), *(draw(_seconds(0, 1)) for _ in lengths)]
    times = {}
    for name in names:
        far = draw(st.integers(1, longest))
        tokens = {0: draw(_seconds(0, 0.1)), far: draw(_seconds(0, 2))}
        catch_up = {0: 0.0}
        if INFOS[name].caches:
            catch_up |= {lag: draw(_seconds(0, 3)) for lag in (1, 4, 32)}
        times[name] = DraftTimes(tokens, catch_up)
    return LatencyProfile(
        verify=dict(zip([1, *lengths], accumulate(steps), strict=True)),
        context=draw(st.integers(0, 40)),
        context_s=draw(st.sampled_from([0.0, 1 / 64])),
        drafts=times,
        overhead_s=draw(_seconds(0, 0.2)),
    )


@st.composite
def _texts(draw: DrawFn, name: str, kind: str, header: Header, most: int) -> Text:
    max_new_tokens = draw(st.integers(1, most))
    cut = draw(st.booleans())
    count = draw(st.integers(1, max_new_tokens)) if cut else max_new_tokens
    tokens = draw(st.lists(st.integers(1, 9), min_size=count, max_size=count))
    if cut:
        tokens[-1] = END
    prompt = draw(st.lists(st.integers(1, 9), min_size=1, max_size=12))
    return Text(
        name=name,
        kind=kind,
        prompt_sha256=hashlib.sha256(str(prompt).encode()).hexdigest(),
        prompt_tokens=len(prompt),
        prompt=tuple(prompt) if draw(st.booleans()) else None,
        max_new_tokens=max_new_tokens,
        tokens=tuple(tokens),
        ended="eos" if cut else "length",
        varies=draw(st.booleans()),
        perplexity=draw(st.none() | st.floats(1.0, 100.0)),
        drafts={draft: draw(_starts(draft, count, header)) for draft in header.drafts},
        changes=draw(st.none() | _changes(header, count)),
    )


@st.composite
def _changes(draw: DrawFn, header: Header, count: int) -> Changes:
    def numbers(*choices: float) -> Any:
        return np.array(draw(st.lists(st.sampled_from(choices), min_size=count, max_size=count)), np.float32)

    # Powers of two multiply without rounding.
    factors = (0.5, 1.0, 2.0, 8.0)
    changed = draw(st.sets(st.sampled_from(sorted(header.drafts)))) if header.drafts else ()
    drafts = {name: numbers(*factors) for name in sorted(changed)}
    return Changes(numbers(*factors), numbers(0.0, 0.25), drafts)


@st.composite
def _starts(draw: DrawFn, draft: str, count: int, header: Header) -> Starts:
    info, longest = header.drafts[draft], header.longest
    signals = {signal: draw(_signals(signal, count, longest)) for signal in sorted(info.signals)}
    if info.match_lengths:  # what it proposes depends on where the round starts
        offered = draw(st.lists(st.integers(0, longest), min_size=count, max_size=count))
        agreed = [draw(st.integers(0, min(known, count - start))) for start, known in enumerate(offered)]
        match_lengths = [draw(st.integers(1, 32)) if known else 0 for known in offered]
        return Starts(_short(offered), _short(agreed), np.array(match_lengths, np.int32), None, signals)
    room = draw(st.just(count + longest) | st.integers(1, count + longest))
    offered = [max(0, min(longest, room - start)) for start in range(count)]
    acceptance_probs = None
    if header.mode == "sampled":
        eighths = draw(st.lists(st.integers(0, 8), min_size=count, max_size=count))
        acceptance_probs = np.array(eighths, np.float32) / np.float32(8)
        bits = [eighth == 8 or (eighth > 0 and draw(st.booleans())) for eighth in eighths]
    else:
        bits = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    return Starts(_short(offered), _short(_runs(bits, offered)), None, acceptance_probs, signals)


def _runs(bits: Sequence[bool], offered: Sequence[int]) -> list[int]:
    """Return for each start how many bits in a row, as far as tokens are offered, are set."""
    runs, run = [0] * len(bits), 0
    for start in range(len(bits) - 1, -1, -1):
        run = run + 1 if bits[start] else 0
        runs[start] = min(run, offered[start])
    return runs


@st.composite
def _signals(draw: DrawFn, signal: Signal, count: int, longest: int) -> Any:
    random = np.random.default_rng(draw(st.integers(0, 1 << 16)))
    if signal == "token":
        return random.integers(1, 10, (count, longest)).astype(np.int32)
    return random.random((count, longest)).astype(np.float32)


def _short(values: Sequence[int]) -> Any:
    return np.array(values, np.int16)
