"""Costs that stand in a test, so that what a policy chooses can be worked out by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping


class FixedCosts:
    """A cost model that never changes.

    Args:
        draft_s: Seconds of one draft token, for every draft or by name.
        verify: Seconds of verification: a number, or a function of block length and context.
        catch_up_s: Seconds for each token a draft lags.
    """

    def __init__(
        self,
        draft_s: float | Mapping[str, float] = 1.0,
        verify: float | Callable[[int, int], float] = 10.0,
        *,
        catch_up_s: float = 0.0,
    ) -> None:
        self._draft_s = draft_s
        self._verify = verify
        self._catch_up_s = catch_up_s

    def draft_s(self, draft: str, gamma: int, lag: int = 0) -> float:
        """Return the seconds to draft `gamma` tokens after catching up on `lag`."""
        token_s = self._draft_s[draft] if isinstance(self._draft_s, Mapping) else self._draft_s
        return gamma * token_s + lag * self._catch_up_s

    def verify_s(self, length: int, context: int) -> float:
        """Return the seconds to verify a block of `length` tokens."""
        return self._verify(length, context) if callable(self._verify) else self._verify
