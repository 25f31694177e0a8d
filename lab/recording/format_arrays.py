"""Arrays of numbers as text: little-endian and base64, exact and a third longer than in memory."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
