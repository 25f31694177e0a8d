"""Sums over the rounds of a request, and what a finished request amounts to: its tokens, its text, its sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import accumulate, zip_longest
from typing import Any, Self

from paceline.core.records import Ended, Round


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over the rounds of one or more requests.

    Attributes:
        rounds, drafted, accepted, emitted: Counts, as in `Round`.
        prefill_s: Seconds until the first round could start: reading the prompt.
        draft_s, verify_s: Seconds, as in `Round`.
        seconds: Decode time as the caller waits for it, reading the prompt not included.
        score_s: Seconds that drafts took to score what another one had drafted.
        gammas: Rounds by planned gamma.
        drafts: Rounds by the draft that was planned; "" for plain rounds.
        reached: By position in the proposal, rounds in which that position was verified and not censored.
        agreed: Of those, rounds in which it was accepted.
    """

    rounds: int = 0
    drafted: int = 0
    accepted: int = 0
    emitted: int = 0
    prefill_s: float = 0.0
    draft_s: float = 0.0
    verify_s: float = 0.0
    seconds: float = 0.0
    score_s: float = 0.0
    gammas: Mapping[int, int] = field(default_factory=dict)
    drafts: Mapping[str, int] = field(default_factory=dict)
    reached: Sequence[int] = ()
    agreed: Sequence[int] = ()

    @property
    def tokens_per_second(self) -> float:
        """Tokens delivered per second of decode time."""
        return self.emitted / self.seconds if self.seconds else 0.0

    @property
    def acceptance(self) -> float:
        """Share of the drafted tokens that the target agreed with; 0 when nothing was drafted."""
        return self.accepted / self.drafted if self.drafted else 0.0

    @property
    def tokens_per_round(self) -> float:
        """Tokens delivered per round; plain decoding is 1."""
        return self.emitted / self.rounds if self.rounds else 0.0

    @property
    def gamma(self) -> float:
        """The mean planned gamma."""
        planned = sum(gamma * count for gamma, count in self.gammas.items())
        return planned / self.rounds if self.rounds else 0.0

    @property
    def overhead(self) -> float:
        """Share of decode time spent outside drafting and verifying: policy, bookkeeping, trace."""
        return max(0.0, 1.0 - (self.draft_s + self.verify_s) / self.seconds) if self.seconds else 0.0

    def __add__(self, other: Totals) -> Totals:
        return Totals(*(_sum(getattr(self, item.name), getattr(other, item.name)) for item in fields(Totals)))


def _sum(left: Any, right: Any) -> Any:
    if isinstance(left, Mapping):
        return {key: left.get(key, 0) + right.get(key, 0) for key in sorted({*left, *right})}
    if isinstance(left, Sequence):
        return tuple(map(sum, zip_longest(left, right, fillvalue=0)))
    return left + right


@dataclass(frozen=True, slots=True)
class Failure:
    """A policy or draft that failed, where `on_policy_error: fallback` went on without it.

    Attributes:
        part: The policy by class and module, or the draft by name, as in "draft 'small'".
        round: Number of the round in which it failed, from 0; None before the first.
        error: What it did.
        place: File and line of its own code, where that is known.
        action: How decoding went on.
    """

    part: str
    round: int | None
    error: str
    place: str | None
    action: str


@dataclass(frozen=True, slots=True)
class Generation:
    """A finished text.

    Attributes:
        text: The text, special tokens left out; None when the target has no tokenizer.
        tokens: The tokens delivered; the one that ended the text is the last.
        prompt_tokens: Length of the prompt.
        ended: Why the text ended.
        policy: Class and module of the policy.
        totals: Sums over its rounds.
        failures: What failed and was gone on without.
    """

    text: str | None
    tokens: tuple[int, ...]
    prompt_tokens: int
    ended: Ended
    policy: str
    totals: Totals
    failures: tuple[Failure, ...] = ()

    @classmethod
    def of(
        cls, text: str | None, tokens: Sequence[int], tally: Tally, *, prompt_tokens: int, policy: str
    ) -> Self:
        """Return what the rounds that were added up amount to, the last of which ended the text."""
        assert tally.ended is not None
        return cls(
            text, tuple(tokens), prompt_tokens, tally.ended, policy, tally.totals(), tuple(tally.failures)
        )


class Tally:
    """Adds up rounds; what it holds does not grow with their number.

    Attributes:
        prefill_s: Seconds until the first round could start; whoever runs the rounds sets it.
        cached_tokens: Tokens of the prompt that stood in a kept cache; likewise.
        ended: Why the text ended, as of the last round.
        failures: What failed and was gone on without; whoever runs the rounds sets it.
    """

    def __init__(self) -> None:
        self.prefill_s = 0.0
        self.cached_tokens = 0
        self.ended: Ended | None = None
        self.failures: tuple[Failure, ...] = ()
        self._rounds = self._drafted = self._accepted = self._emitted = 0
        self._seconds = self._draft_s = self._verify_s = self._score_s = 0.0
        self._gammas: dict[int, int] = {}
        self._drafts: dict[str, int] = {}
        # How many rounds reached, and how many agreed up to, exactly so many positions; summed up at the end.
        self._reached: dict[int, int] = {}
        self._agreed: dict[int, int] = {}

    def add(self, done: Round, seconds: float) -> None:
        """Add a finished round that took `seconds` in all."""
        plan, accepted, drafted = done.plan, done.accepted, done.drafted
        name = plan.draft or ""
        self.ended = done.ended
        self._rounds += 1
        self._emitted += done.emitted
        self._drafted += drafted
        self._accepted += accepted
        self._draft_s += done.draft_s
        self._verify_s += done.verify_s
        self._score_s += done.score_s
        self._seconds += seconds
        self._gammas[plan.gamma] = self._gammas.get(plan.gamma, 0) + 1
        self._drafts[name] = self._drafts.get(name, 0) + 1
        if name:
            # A round that was cut says nothing about the token after the last one accepted.
            reached = accepted + (accepted < drafted and done.ended is None)
            self._agreed[accepted] = self._agreed.get(accepted, 0) + 1
            self._reached[reached] = self._reached.get(reached, 0) + 1

    def totals(self) -> Totals:
        """Return the sums so far."""
        return Totals(
            self._rounds,
            self._drafted,
            self._accepted,
            self._emitted,
            self.prefill_s,
            self._draft_s,
            self._verify_s,
            self._seconds,
            self._score_s,
            dict(sorted(self._gammas.items())),
            dict(sorted(self._drafts.items())),
            _at_least(self._reached),
            _at_least(self._agreed),
        )


def _at_least(exactly: Mapping[int, int]) -> tuple[int, ...]:
    """Return for each position how many rounds came past it, without the positions that none came to."""
    counts = [exactly.get(place, 0) for place in range(max(exactly, default=0), 0, -1)]
    return tuple(accumulate(counts))[::-1]
