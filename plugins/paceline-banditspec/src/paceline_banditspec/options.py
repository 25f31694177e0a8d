"""The options that both policies have: what the arms are, and what is maximised."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from paceline import PolicyConfig
from paceline_banditspec.arms import Arms, DraftArms, GammaArms

Reward = Literal["tokens", "rate"]

LENGTH = 4
GAMMAS = (1, 2, 3, 4)
"""The lengths that the paper's released code chooses from; it has no 0."""


class BanditOptions(PolicyConfig):
    """Options of a bandit over drafts or over gammas."""

    arms: Literal["drafts", "gammas"] = Field(
        default="drafts",
        description="The arms: `drafts`, all at one length, or `gammas`, lengths of one draft.",
    )
    length: int | None = Field(
        default=None,
        ge=1,
        description=f"Draft tokens of every round, with arms: drafts; {LENGTH} if left out.",
    )
    gammas: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(
        default=None,
        min_length=2,
        description="The lengths to choose from, with arms: gammas; 1, 2, 3, 4 if left out. 0 is plain decoding.",
    )
    draft: str | None = Field(
        default=None,
        description="Name of the draft, with arms: gammas; the first one listed if left out.",
    )
    reward: Reward | None = Field(
        default=None,
        description="What is maximised: `tokens` of a round, or `rate`, tokens per second. If left out, tokens "
        "with arms: drafts and rate with arms: gammas.",
    )

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        foreign = ("gammas", "draft") if self.arms == "drafts" else ("length",)
        for option in foreign:
            if getattr(self, option) is not None:
                raise ValueError(f"option `{option}` has no meaning with `arms: {self.arms}`; leave it out")
        if self.gammas is not None and len(set(self.gammas)) < len(self.gammas):
            raise ValueError(f"`gammas` must be different from each other, found {list(self.gammas)}")
        return self

    def choice(self) -> Arms:
        """Return the arms."""
        if self.arms == "drafts":
            return DraftArms(self.length or LENGTH)
        return GammaArms(self.gammas or GAMMAS, self.draft)

    def maximised(self) -> Reward:
        """Return the reward, its default filled in."""
        return self.reward or ("tokens" if self.arms == "drafts" else "rate")
