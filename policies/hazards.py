"""Counts of acceptance and refusal at each position of a draft's proposals, and their Beta posteriors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.policies.state import check_count, check_list

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

VERDICTS = ("accepted", "refused")


class Hazards:
    """Discounted counts for positions 0 to size - 1: accepted there, refused there, each given it was reached."""

    __slots__ = ("accepted", "refused")

    def __init__(self, size: int) -> None:
        self.accepted = [0.0] * size
        self.refused = [0.0] * size

    def age(self, discount: float) -> None:
        """Let everything known weigh less."""
        self.accepted = [count * discount for count in self.accepted]
        self.refused = [count * discount for count in self.refused]

    def count(self, accepted: int, *, refused: bool) -> None:
        """Count one proposal: so many tokens accepted and, if one was refused, that one."""
        for position in range(min(accepted, len(self.accepted))):
            self.accepted[position] += 1.0
        if refused and accepted < len(self.refused):
            self.refused[accepted] += 1.0

    def weigh(self, scores: Sequence[float]) -> None:
        """Count one proposal by the chance of each token to be accepted: what it reaches, it reaches in part."""
        reached = 1.0
        for position, score in enumerate(scores[: len(self.accepted)]):
            self.accepted[position] += reached * score
            self.refused[position] += reached * (1.0 - score)
            reached *= score
            if not reached:
                break

    def add(self, position: int, amount: float, *, refused: bool) -> None:
        """Add to one count."""
        (self.refused if refused else self.accepted)[position] += amount

    def posterior(self, prior: tuple[float, float], pooling: float) -> Iterator[tuple[float, float]]:
        """Yield the two parameters of each position's Beta distribution, pooled towards the mean of all."""
        right, wrong = sum(self.accepted) + prior[0], sum(self.refused) + prior[1]
        more_right, more_wrong = pooling * right / (right + wrong), pooling * wrong / (right + wrong)
        for y, f in zip(self.accepted, self.refused, strict=True):
            yield y + more_right, f + more_wrong


def read_hazards(known: object, size: int) -> dict[str, Hazards]:
    """Return the hazards of a saved state, for each draft two lists of `size` counts.

    Raises:
        ValueError: The state is damaged or of another size.
    """
    if not isinstance(known, dict):
        raise ValueError("the saved state is damaged: known is not a mapping of drafts")  # noqa: TRY004 - callers are promised ValueError
    result = {}
    for draft, saved in known.items():
        hazards = Hazards(size)
        lists = check_list(saved, f"what is known of draft {draft!r}", length=2)
        hazards.accepted, hazards.refused = (
            [
                float(check_count(item, f"a count of draft {draft!r}"))
                for item in check_list(counts, what, length=size)
            ]
            for counts, what in zip(lists, VERDICTS, strict=True)
        )
        result[str(draft)] = hazards
    return result


def export_hazards(known: Mapping[str, Hazards]) -> dict[str, float]:
    """Return the counts that are not 0, under keys "draft/position/verdict"."""
    return {
        f"{draft}/{position}/{verdict}": count
        for draft, hazards in known.items()
        for verdict, counts in zip(VERDICTS, (hazards.accepted, hazards.refused), strict=True)
        for position, count in enumerate(counts)
        if count
    }


def read_export(statistics: Mapping[str, float]) -> list[tuple[str, int, bool, float]]:
    """Return draft, position, whether refused, and amount of each exported count.

    Raises:
        ValueError: A key or a number is not one that `export_hazards` writes.
    """
    return list(_entries(statistics))


def _entries(statistics: Mapping[str, float]) -> Iterator[tuple[str, int, bool, float]]:
    for key, amount in statistics.items():
        draft, _, rest = key.rpartition("/")
        draft, _, position = draft.rpartition("/")
        if not draft or not position.isdecimal() or rest not in VERDICTS:
            raise ValueError(f"{key!r} is no statistic of this policy; keys look like 'draft/0/accepted'")
        yield draft, int(position), rest == VERDICTS[1], check_count(amount, key)
