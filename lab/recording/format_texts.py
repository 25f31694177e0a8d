"""Outcomes of a draft from every start as JSON-able values: compact where they depend on the context alone.

Such a draft's token at a place is the same from every start, as long as all of its tokens before were the text's. So
one bit a place tells whether it agrees there; the signals of that token are the same from every start as well; and what
it proposes after a token that is not the text's depends on that place only:

    bits        "1101...": whether the draft's token at each place is accepted; agreed[p] is the run of ones from p on
    signals     by name: `path`, one value a place, about the draft's token there; and `tails`, longest - 1 values for
                each place of a 0 and for the last place, about what it would have proposed after its token there

Any other draft is written start by start: `agreed` as a list of numbers, and by name `rows`, as many values as tokens
offered, one start after the other. `offered` is left out where it is `longest` everywhere, and `ranks`, a whole number
a place, where only first choices are known. Nothing is said beforehand
about which form a draft takes: whatever the compact form restores exactly is written in it.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from paceline.core.records import SIGNALS
from paceline.lab.recording.model import Changes, Starts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from paceline.core.records import Signal

Whole = TypeVar("Whole", np.int16, np.int32)


def starts_to_json(starts: Starts, longest: int) -> dict[str, Any]:
    """Return one draft's starts as JSON-able values."""
    offered = np.asarray(starts.offered)
    values: dict[str, Any] = {}
    if bool((offered != longest).any()):
        values["offered"] = offered.tolist()
    bits = np.asarray(starts.agreed) > 0
    if np.array_equal(runs(bits, offered), starts.agreed):
        values["bits"] = "".join("01"[bit] for bit in bits.astype(int))
    else:
        values["agreed"] = np.asarray(starts.agreed).tolist()
    if starts.match_lengths is not None:
        values["hints"] = np.asarray(starts.match_lengths).tolist()
    if starts.ranks is not None:
        values["ranks"] = np.asarray(starts.ranks).tolist()
    if starts.acceptance_probs is not None:
        values["chance"] = pack(starts.acceptance_probs)
    if starts.signals:
        ends = tail_places(bits) if "bits" in values else None
        values["signals"] = {
            name: _signal_to_json(rows, offered, ends) for name, rows in starts.signals.items()
        }
    return values


def starts_from_json(values: Mapping[str, Any], n: int, longest: int) -> Starts:
    """Return the starts that `starts_to_json` made these values from, for a text of `n` tokens.

    Raises:
        KeyError, TypeError, ValueError: The values are not like that.
    """
    offered = (
        _counts(values["offered"], n, np.int16) if "offered" in values else np.full(n, longest, np.int16)
    )
    ends = None
    if "bits" in values:
        bits = np.array([{"0": False, "1": True}[bit] for bit in values["bits"]], dtype=bool)
        if len(bits) != n:
            raise ValueError(f"{n} bits expected, found {len(bits)}")
        agreed, ends = runs(bits, offered), tail_places(bits)
    else:
        agreed = _counts(values["agreed"], n, np.int16)
    if bool((offered > longest).any()):
        raise ValueError(f"a draft offers 0 to {longest} tokens")
    if bool((agreed > np.minimum(offered, np.arange(n, 0, -1))).any()):
        raise ValueError("more tokens are agreed on than were offered, or than the text has")
    signals = {
        cast("Signal", name): _signal_from_json(signal, name, offered, longest, ends)
        for name, signal in values.get("signals", {}).items()
        if name in SIGNALS
    }
    match_lengths = _counts(values["hints"], n, np.int32) if "hints" in values else None
    acceptance_probs = unpack(values["chance"], FLOAT, n) if "chance" in values else None
    return Starts(
        offered, agreed, match_lengths, acceptance_probs, signals, ranks=_ranks(values.get("ranks"), agreed)
    )


def runs(bits: NDArray[np.bool_], offered: NDArray[Any]) -> NDArray[np.int16]:
    """Return from each place on how many ones follow one another, at most as many as are offered there."""
    n = len(bits)
    stops = np.where(bits, n, np.arange(n))
    ends = np.minimum.accumulate(stops[::-1])[::-1] if n else stops
    lengths: NDArray[np.int16] = np.minimum(ends - np.arange(n), offered).astype(np.int16)
    return lengths


def tail_places(bits: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the places after whose token a draft has left the text: those of a 0, and the last."""
    left = ~bits
    left[-1:] = True
    return np.flatnonzero(left)


def spread(path: NDArray[Any], tails: NDArray[Any], ends: NDArray[np.intp], longest: int) -> NDArray[Any]:
    """Return the values of every start, shape (n, longest), of what is the same from every start.

    Args:
        path: About the token at each place, shape (n,).
        tails: About the tokens after the one at each of `ends`, shape (len(ends), longest - 1).
        ends: Places where the draft leaves the text, ascending; the last is n - 1.
        longest: Tokens from each start.
    """
    n = len(path)
    places = np.arange(n)[:, None] + np.arange(longest)[None, :]
    which = np.searchsorted(ends, np.arange(n))[:, None] if n else np.zeros((0, 1), np.intp)
    beyond = places - ends[which] - 1 if n else places
    if longest == 1:
        return path[:, None].copy()
    off = tails[which, np.clip(beyond, 0, longest - 2)]
    values: NDArray[Any] = np.where(beyond < 0, path[np.minimum(places, max(n - 1, 0))], off)
    return values


def _signal_to_json(
    rows: NDArray[Any], offered: NDArray[Any], ends: NDArray[np.intp] | None
) -> dict[str, str]:
    longest = rows.shape[1]
    known = np.arange(longest)[None, :] < offered[:, None]
    if ends is not None:
        path, tails = rows[:, 0], rows[ends, 1:]
        if np.array_equal(spread(path, tails, ends, longest)[known], rows[known]):
            return {"path": pack(path), "tails": pack(tails)}
    return {"rows": pack(rows[known])}


def _signal_from_json(
    values: Mapping[str, str],
    name: str,
    offered: NDArray[Any],
    longest: int,
    ends: NDArray[np.intp] | None,
) -> NDArray[Any]:
    dtype, n = WHOLE if name == "token" else FLOAT, len(offered)
    if "rows" not in values:
        if ends is None:
            raise ValueError(f"signal {name!r} needs rows where a draft depends on the start")
        tails = unpack(values["tails"], dtype, len(ends) * (longest - 1)).reshape(len(ends), longest - 1)
        return spread(unpack(values["path"], dtype, n), tails, ends, longest)
    rows = np.zeros((n, longest), dtype.newbyteorder("="))
    rows[np.arange(longest)[None, :] < offered[:, None]] = unpack(values["rows"], dtype, int(offered.sum()))
    return rows


def _counts(listed: list[int], n: int, dtype: type[Whole]) -> NDArray[Whole]:
    most = int(np.iinfo(dtype).max)
    if len(listed) != n or not all(type(number) is int and 0 <= number <= most for number in listed):
        raise ValueError(f"{n} whole numbers from 0 to {most} expected, found {len(listed)} values")
    return np.array(listed, dtype=dtype)


def _ranks(listed: list[int] | None, agreed: NDArray[np.int16]) -> NDArray[np.int8] | None:
    if listed is None:
        return None
    if len(listed) != len(agreed) or not all(type(rank) is int and -1 <= rank <= 127 for rank in listed):
        raise ValueError(f"{len(agreed)} ranks from -1 to 127 expected, found {len(listed)} values")
    ranks = np.array(listed, np.int8)
    if not np.array_equal(ranks == 0, agreed > 0):
        raise ValueError("the first choices that are right are not the tokens that are agreed on")
    return ranks


FLOAT, WHOLE = np.dtype("<f4"), np.dtype("<i4")


def pack(array: NDArray[Any]) -> str:
    """Return the numbers of an array, row after row, as float32, or as int32 if they are whole numbers."""
    kept = FLOAT if np.issubdtype(array.dtype, np.floating) else WHOLE
    return b64encode(np.ascontiguousarray(array, dtype=kept).tobytes()).decode("ascii")


def unpack(text: str, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
    """Return `count` numbers that `pack` wrote.

    Raises:
        ValueError: The text is no base64, or holds another number of numbers.
    """
    raw = b64decode(text, validate=True)
    if len(raw) != count * dtype.itemsize:
        raise ValueError(f"{count} numbers expected, found {len(raw) / dtype.itemsize:g}")
    return np.frombuffer(raw, dtype=dtype).astype(dtype.newbyteorder("="))


def changes_to_json(changes: Changes) -> dict[str, Any]:
    """Return them as JSON-able values."""
    return {
        "verify": pack(changes.verify),
        "token_s": pack(changes.token_s),
        "drafts": {name: pack(factor) for name, factor in changes.drafts.items()},
    }


def changes_from_json(values: Mapping[str, Any], n: int) -> Changes:
    """Return what `changes_to_json` made these values from, for a text of `n` tokens.

    Raises:
        KeyError, TypeError, ValueError: The values are not like that.
    """
    drafts = {name: _read(packed, n) for name, packed in values.get("drafts", {}).items()}
    verify = _read(values["verify"], n) if "verify" in values else np.ones(n, np.float32)
    token_s = _read(values["token_s"], n) if "token_s" in values else np.zeros(n, np.float32)
    return Changes(verify, token_s, drafts)


def _read(packed: str, n: int) -> NDArray[np.float32]:
    numbers: NDArray[np.float32] = unpack(packed, FLOAT, n)
    if not bool((np.isfinite(numbers) & (numbers >= 0.0)).all()):
        raise ValueError("changes of costs are finite and not below 0")
    return numbers
