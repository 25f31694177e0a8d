"""Proposals and verdicts that hold their tokens, and proposals that a device is still working on.

Reading one of the latter waits for the device. So the loop hands it to the target as it is, and looks at it afterwards:
where both models are on one device, a round then costs one copy to the host instead of two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from paceline.core.clock import WallClock
from paceline.core.records import Signal, StopRule, TokenSignals

if TYPE_CHECKING:
    from paceline.core.protocols import Clock, Proposal


@dataclass(frozen=True, slots=True)
class DraftControl:
    """Control over a draft while it drafts: signals to deliver, and when to stop; None in its place means none.

    Attributes:
        signals: The signals to compute for each draft token.
        stop: A threshold that a device may evaluate by itself.
        keep_drafting: Called after each draft token if not None; False ends drafting after that token.
    """

    signals: frozenset[Signal]
    stop: StopRule | None = None
    keep_drafting: Callable[[TokenSignals], bool] | None = None

    def goes_on(self, signals: TokenSignals) -> bool:
        """Tell whether to draft another token: by the declared rule first, then by asking."""
        if self.stop is not None and self.stop.stops(signals):
            return False
        return self.keep_drafting is None or self.keep_drafting(signals)


@dataclass(frozen=True, slots=True)
class TokenProposal:
    """Draft tokens on the host."""

    tokens: tuple[int, ...]
    signals: tuple[TokenSignals, ...] = ()

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True, slots=True)
class SampledProposal:
    """Draft tokens on the host that were drawn, with the distributions they were drawn from.

    Attributes:
        draft_probs: For each token one probability a token of the draft, as it was drawn from: after temperature, top-p
            and whatever else was applied. A target that cannot read them takes the tokens for certain.

    Raises:
        ValueError: A distribution is missing, or cannot have given its token.
    """

    tokens: tuple[int, ...]
    draft_probs: tuple[Sequence[float], ...]
    signals: tuple[TokenSignals, ...] = ()

    def __post_init__(self) -> None:
        if (flaw := drawn_flaw(self.tokens, self.draft_probs)) is not None:
            raise ValueError(flaw)

    def __len__(self) -> int:
        return len(self.tokens)


def drawn_flaw(tokens: Sequence[int], draft_probs: Sequence[Sequence[float]]) -> str | None:
    """Return why tokens cannot have been drawn from these distributions, or None."""
    if len(tokens) != len(draft_probs):
        return f"{len(tokens)} drawn tokens need as many distributions, found {len(draft_probs)}"
    for place, (token, probs) in enumerate(zip(tokens, draft_probs, strict=True)):
        if not 0 <= token < len(probs) or not probs[token] > 0.0:
            return f"token {token} at {place} cannot have been drawn: it has no probability there"
    return None


@dataclass(frozen=True, slots=True)
class TokenVerdict:
    """The accepted tokens and one more of the target's own, on the host."""

    accepted: int
    tokens: tuple[int, ...]


def verify_greedy(proposed: Sequence[int], target_tokens: Sequence[int]) -> TokenVerdict:
    """Return the greedy verdict: proposed tokens are accepted up to the first the target would not have chosen.

    `target_tokens` holds the target's choice at each proposed position and at the one after: len(proposed) + 1 tokens.
    """
    accepted = 0
    while accepted < len(proposed) and proposed[accepted] == target_tokens[accepted]:
        accepted += 1
    return TokenVerdict(accepted, tuple(target_tokens[: accepted + 1]))


@runtime_checkable
class AsyncProposal(Protocol):
    """A proposal, of at least one token, that may be verified before anyone on the host has read it."""

    @property
    def seconds(self) -> float | None:
        """Seconds of drafting by the device's own clock; None until that is known, which verification makes it."""
        ...


def is_async(proposal: Proposal, clock: Clock) -> bool:
    """Tell whether a proposal is read only after its verification.

    Virtual clocks have to be told what was drafted before it is verified, so under them nothing waits.
    """
    return isinstance(clock, WallClock) and isinstance(proposal, AsyncProposal)


def ready_at(proposal: Proposal, planned: float, returned: float, verified: float) -> float:
    """Return when drafting was done, for a proposal that waited.

    Args:
        proposal: As the target left it.
        planned: When drafting was asked for. The device had nothing else to do by then.
        returned: When `draft` returned; the device may have gone on.
        verified: When `verify` returned.
    """
    assert isinstance(proposal, AsyncProposal)
    return min(max(returned, planned + (proposal.seconds or 0.0)), verified)
