"""How often the token at each position of a proposal was accepted, over the last rounds that had one there."""

from __future__ import annotations

from collections import deque
from itertools import accumulate
from typing import Self

from paceline.policies.state import check_count, check_list


class Windows:
    """For each position, whether each of the last `size` proposals that reached so far was accepted as far as that.

    Acceptance is not conditional here: what follows a refused token counts as not accepted. Windows are filled from
    the first position on, so those that hold something come before those that do not.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._positions: list[deque[int]] = []

    def __bool__(self) -> bool:
        """Whether anything was seen."""
        return bool(self._positions)

    @classmethod
    def read(cls, saved: object, size: int) -> Self:
        """Return the windows of a saved state, each cut to its latest `size` items.

        Raises:
            ValueError: The state is damaged.
        """
        windows = cls(size)
        for window in check_list(saved, "windows"):
            items = [
                int(check_count(item, "an item of a window", whole=True))
                for item in check_list(window, "an item of windows")
            ]
            if not items or max(items) > 1:
                raise ValueError(
                    f"the saved state is damaged: {items} is no window of 1 (accepted) and 0 (not)"
                )
            windows._positions.append(deque(items, maxlen=size))
        return windows

    def count(self, accepted: int, drafted: int) -> None:
        """Count one proposal of `drafted` tokens, of which the target accepted the first `accepted`."""
        while len(self._positions) < drafted:
            self._positions.append(deque(maxlen=self._size))
        for position in range(drafted):
            self._positions[position].append(int(position < accepted))

    def forget_from(self, position: int) -> None:
        """Forget this position and all later ones, so that what is no longer tried does not stay bad for ever."""
        del self._positions[position:]

    def expected_tokens(self, most: int) -> list[float]:
        """Return how many tokens rounds of gamma 0, 1, ... `most` yield, the target's own included.

        Beyond the last position that was seen, acceptance goes on falling at the mean rate at which it fell so far,
        with one position seen at that from certainty to there. Where nothing was seen, nothing is expected.
        """
        shares = [sum(window) / len(window) for window in self._positions[:most]]
        if shares and len(shares) < most:
            first, last, seen = shares[0], shares[-1], len(shares)
            fall = first if seen == 1 or not first else min((last / first) ** (1.0 / (seen - 1)), 1.0)
            shares += [last * fall**step for step in range(1, most - seen + 1)]
        tokens = list(accumulate(shares, initial=1.0))
        return tokens + [1.0] * (most + 1 - len(tokens))

    def state(self) -> list[list[int]]:
        """Return the windows as JSON-able values."""
        return [list(window) for window in self._positions]
