"""Sums over the rounds of one text, on the way to its outcome."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from paceline.lab.replay.results import Outcome

if TYPE_CHECKING:
    from paceline.core.records import Round
    from paceline.lab.recording.model import Text


class Tally:
    """Counts rounds; what it holds does not grow with their number."""

    __slots__ = (
        "_accepted",
        "_agreed",
        "_draft_s",
        "_drafted",
        "_drafts",
        "_gammas",
        "_reached",
        "_rounds",
        "_score_s",
        "_seconds",
        "_text",
        "_verify_s",
    )

    def __init__(self, text: Text, longest: int) -> None:
        self._text = text
        self._rounds = self._drafted = self._accepted = 0
        self._seconds = self._draft_s = self._verify_s = self._score_s = 0.0
        self._gammas: dict[int, int] = {}
        self._drafts: dict[str, int] = {}
        # How many rounds reached, and how many agreed up to, exactly so many positions; summed up at the end.
        self._reached = [0] * (longest + 1)
        self._agreed = [0] * (longest + 1)

    def add(self, done: Round) -> None:
        """Take in a finished round."""
        plan, accepted, drafted = done.plan, done.accepted, done.drafted
        name = plan.draft or ""
        self._rounds += 1
        self._seconds += done.total_s
        self._verify_s += done.verify_s
        self._gammas[plan.gamma] = self._gammas.get(plan.gamma, 0) + 1
        self._drafts[name] = self._drafts.get(name, 0) + 1
        if name:
            self._drafted += drafted
            self._accepted += accepted
            self._draft_s += done.draft_s
            self._agreed[accepted] += 1
            # A round that was cut says nothing about the token after the last one accepted.
            self._reached[accepted + (accepted < drafted and done.ended is None)] += 1
        if done.scores:
            self._score_s += done.score_s

    def outcome(self) -> Outcome:
        """Return the sums."""
        text = self._text
        return Outcome(
            text=text.name,
            kind=text.kind,
            varies=text.varies,
            tokens=len(text.tokens),
            rounds=self._rounds,
            drafted=self._drafted,
            accepted=self._accepted,
            seconds=self._seconds,
            draft_s=self._draft_s,
            verify_s=self._verify_s,
            score_s=self._score_s,
            gammas=dict(sorted(self._gammas.items())),
            drafts=dict(sorted(self._drafts.items())),
            reached=_at_least(self._reached),
            agreed=_at_least(self._agreed),
        )


def _at_least(exactly: list[int]) -> tuple[int, ...]:
    """Return for each position how many rounds came past it, without the positions that none came to."""
    sums = list(accumulate(reversed(exactly)))[::-1][1:]
    return tuple(count for count in sums if count)
