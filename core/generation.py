"""What a finished request amounts to: its tokens, its text, and the sums over its rounds."""

from __future__ import annotations

from dataclasses import dataclass

from paceline.core.records import Ended, Round


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over the rounds of one or more requests.

    Attributes:
        rounds, drafted, accepted, emitted: Counts, as in `Round`.
        prefill_s: Seconds until the first round could start: reading the prompt.
        draft_s, verify_s: Seconds, as in `Round`.
        seconds: Decode time as the caller waits for it, reading the prompt not included.
    """

    rounds: int = 0
    drafted: int = 0
    accepted: int = 0
    emitted: int = 0
    prefill_s: float = 0.0
    draft_s: float = 0.0
    verify_s: float = 0.0
    seconds: float = 0.0

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
    def overhead(self) -> float:
        """Share of decode time spent outside drafting and verifying: policy, bookkeeping, trace."""
        return max(0.0, 1.0 - (self.draft_s + self.verify_s) / self.seconds) if self.seconds else 0.0

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            self.rounds + other.rounds,
            self.drafted + other.drafted,
            self.accepted + other.accepted,
            self.emitted + other.emitted,
            self.prefill_s + other.prefill_s,
            self.draft_s + other.draft_s,
            self.verify_s + other.verify_s,
            self.seconds + other.seconds,
        )


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
    """

    text: str | None
    tokens: tuple[int, ...]
    prompt_tokens: int
    ended: Ended
    policy: str
    totals: Totals


class Tally:
    """Adds up the rounds of one request while it runs."""

    def __init__(self) -> None:
        self._sums = Totals()
        self._opening = 0.0
        self.ended: Ended | None = None

    def opening(self, now: float) -> None:
        """Note the moment the prompt begins to be read."""
        self._opening = now

    def opened(self, now: float) -> None:
        """Note the moment the first round can start."""
        self._sums = Totals(prefill_s=now - self._opening)

    def add(self, done: Round, seconds: float) -> None:
        """Add a finished round that took `seconds` in all."""
        self._sums += Totals(
            1, done.drafted, done.accepted, done.emitted, 0.0, done.draft_s, done.verify_s, seconds
        )
        self.ended = done.ended

    def totals(self) -> Totals:
        """Return the sums so far."""
        return self._sums
