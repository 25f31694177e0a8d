"""Proposals and verdicts that hold their tokens, for every backend that has them on the host anyway."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from paceline.core.records import TokenSignals


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
        chances: For each token one probability a token of the draft, as it was drawn from: after temperature, top-p
            and whatever else was applied. A target that cannot read them takes the tokens for certain.

    Raises:
        ValueError: A distribution is missing, or cannot have given its token.
    """

    tokens: tuple[int, ...]
    chances: tuple[Sequence[float], ...]
    signals: tuple[TokenSignals, ...] = ()

    def __post_init__(self) -> None:
        if len(self.tokens) != len(self.chances):
            raise ValueError(
                f"{len(self.tokens)} drawn tokens need as many distributions, found {len(self.chances)}"
            )
        for place, (token, chances) in enumerate(zip(self.tokens, self.chances, strict=True)):
            if not 0 <= token < len(chances) or not chances[token] > 0.0:
                raise ValueError(
                    f"token {token} at {place} cannot have been drawn: it has no probability there"
                )

    def __len__(self) -> int:
        return len(self.tokens)


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
