"""Changes of a text's costs as JSON-able values: `verify`, `token_s` and `drafts` by name, an array each.

Where `verify` or a draft is missing, nothing changes there; likewise `token_s`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from paceline.lab.recording.format_arrays import FLOAT, pack, unpack
from paceline.lab.recording.model import Changes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


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
