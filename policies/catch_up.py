"""The price of a draft whose cache lags, spread over the tokens that can earn it back.

Reading an unread prompt may cost as much as many rounds, but it is paid once: afterwards every round of the
request profits. Held against a single round it would forbid drafting for ever, since the lag of a draft that
rests only grows. Finishing the n tokens still wanted takes n T/E seconds without a lag, where T is the time of a
round and E the tokens it yields, and n T/E + K with a catch-up of K seconds; so a lag adds K / n to the time of
each token. With few tokens left the same sum says, rightly, that reading the prompt no longer pays.

This takes the budget at its word. A text that ends much sooner than allowed earns back less than was assumed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paceline.core.records import RoundStart


def catch_up_share_s(start: RoundStart, draft: str) -> float:
    """Return the seconds of catching up that fall to each token still wanted."""
    lag = start.drafts[draft].lag
    if lag <= 0:
        return 0.0
    once_s = start.costs.draft_s(draft, 1, lag) - start.costs.draft_s(draft, 1)
    return max(once_s, 0.0) / (start.budget + 1)
