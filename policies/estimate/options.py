"""The options of every policy that plans by survival."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, FiniteFloat

from paceline.core.config.blocks import PolicyConfig
from paceline.policies.candidates import LARGEST


class SurvivalOptions(PolicyConfig):
    """What is learnt, how fast it fades, and what may be tried."""

    max_gamma: int = Field(default=16, ge=1, le=LARGEST, description="The largest gamma considered.")
    discount: float = Field(
        default=0.94, gt=0, le=1, description="Weight of what is known, for each further round of evidence."
    )
    prior: tuple[Annotated[FiniteFloat, Field(gt=0)], Annotated[FiniteFloat, Field(gt=0)]] = Field(
        default=(2.0, 1.0),
        description="Accepted and refused tokens assumed of a draft nothing is known about.",
    )
    pooling: FiniteFloat = Field(
        default=24.0, gt=0, description="Observations that the mean of a draft is worth at each position."
    )
    score_share: float = Field(
        default=0.005, ge=0, le=1, description="Share of the time each idle draft may take to score rounds."
    )
    idle_discount: float = Field(
        default=0.98,
        gt=0,
        le=1,
        description="Weight of what is known of a draft, for each round it is not heard of.",
    )
    plain_every: int = Field(
        default=512, ge=1, description="Rounds after which plain decoding is measured again."
    )
    draft: str | None = Field(
        default=None, description="Name of the only draft to use; all of them if left out."
    )
