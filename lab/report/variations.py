"""Other options for a policy: each of its numbers halved and doubled, one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice, zip_longest
from typing import TYPE_CHECKING, Any

from paceline.core.errors import PacelineError
from paceline.lab.replay.choosing import build

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.core.plugins.catalogue import Catalogue

FACTORS = (0.5, 2.0)
Block = Mapping[str, Any]


def variations(policies: Mapping[str, Block], catalogue: Catalogue, *, most: int) -> dict[str, Block]:
    """Return up to `most` blocks by name, such as `online:window=20`; the policies take turns.

    Args:
        policies: By label, the best first.
        catalogue: The installed plugins.
        most: The budget.
    """
    each = [
        [(f"{label}:{key}={value}", block) for key, value, block in _changed(block, catalogue)]
        for label, block in policies.items()
    ]
    turns = (one for turn in zip_longest(*each) for one in turn if one is not None)
    return dict(islice(turns, most))


def _changed(block: Block, catalogue: Catalogue) -> Iterator[tuple[str, Any, Block]]:
    for path, value in _numbers(block):
        for factor in FACTORS:
            wanted = round(value * factor) if isinstance(value, int) else value * factor
            if wanted == value:
                continue
            other = _with(block, path, wanted)
            try:
                build(other, catalogue)
            except PacelineError:
                continue  # out of the option's range
            yield ".".join(path), wanted, other


def _numbers(block: Block, before: Sequence[str] = ()) -> Iterator[tuple[tuple[str, ...], int | float]]:
    for key, value in block.items():
        path = (*before, key)
        if isinstance(value, Mapping):
            yield from _numbers(value, path)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield path, value


def _with(block: Block, path: Sequence[str], value: Any) -> dict[str, Any]:
    first, *rest = path
    return {**block, first: _with(block[first], rest, value) if rest else value}
