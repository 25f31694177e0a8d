"""Lines of JSON that carry their own checksum, so that a byte that changed is noticed where it stands.

The last key of each object is `crc32`: the CRC-32 (that of zlib) of all bytes of the line before the comma in front of
it, as eight hexadecimal digits. A line stands for itself, so files may be cut, go on, and be read from any line.
It may have a checksum that fits and still say what nobody wrote, so values are checked too.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from paceline.core.errors import TraceError
from paceline.core.files import MIB, size
from paceline.core.json_text import parse_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LINE: Final = 64 * MIB
"""Bytes of the longest line. A text of 4096 tokens with all signals has a few MiB."""

LARGEST_TOKEN: Final = 2**31 - 1

_SEAL = re.compile(rb',"crc32":"([0-9a-f]{8})"\}\n\Z')


def seal(values: Mapping[str, Any]) -> bytes:
    """Return an object, which is not empty, as a line with its checksum and its end.

    Raises:
        TraceError: It takes more than can be read again.
    """
    text = json.dumps(values, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    body = text.removesuffix("}").encode()
    if len(body) > LINE - 64:
        raise TraceError(
            f"a line of more than {size(LINE)} cannot be read again; take shorter texts or smaller gammas"
        )
    return body + b',"crc32":"%08x"}\n' % crc32(body)


def unseal(line: bytes) -> dict[str, Any]:
    """Return the object of a line that `seal` wrote, without its checksum.

    Raises:
        ValueError: The line is damaged.
    """
    match = _SEAL.search(line, max(0, len(line) - 64))
    if match is None:
        raise ValueError("it does not end with its checksum")
    if crc32(line[: match.start()]) != int(match[1], 16):
        raise ValueError("its checksum does not fit")
    values = parse_json(line)
    if not isinstance(values, dict):
        raise TypeError(f"found {type(values).__name__}")
    del values["crc32"]
    return values


def check_types(values: Mapping[str, Any], **kinds: type) -> None:
    """Check values by name: texts, truth values, and numbers (`int`: whole ones) of 0 and more.

    Raises:
        KeyError: One is missing.
        ValueError: One is something else.
    """
    for name, kind in kinds.items():
        value = values[name]
        fits = type(value) is kind or (kind is float and type(value) is int)
        if not fits or (kind in {int, float} and value < 0):
            raise ValueError(f"{name} is {value!r:.60}")


def check_counts(values: Iterable[Any], what: str, *, most: int = 2**62) -> None:
    """Check that all values are whole numbers from 0 to `most`.

    Raises:
        ValueError: One is not.
    """
    if not all(type(value) is int and 0 <= value <= most for value in values):
        raise ValueError(f"{what} holds something else than whole numbers from 0 to {most}")
