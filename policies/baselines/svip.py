"""SVIP: stop drafting once the draft's entropy says that the target may well disagree.

"Draft Model Knows When to Stop" (https://arxiv.org/abs/2411.18462) bounds the probability beta that a draft token is
accepted from below. With q the draft's distribution, p the target's and KL their divergence, beta is one minus
their total variation distance, and Pinsker's inequality gives

    beta >= 1 - sqrt(KL(q || p) / 2),    KL(q || p) = H(q, p) - H(q).

The ratio of cross entropy to entropy is found to vary little, so that KL / 2 is close to kappa H(q) for a constant
kappa that stands for both models. Drafting stops after the first token with

    sqrt(kappa H(q)) > h,    that is    H(q) > h^2 / kappa,

which is a threshold on the entropy alone. The released code (https://github.com/Geralt-Targaryen/SVIP) has kappa =
0.15, h = 0.3 and at most 40 tokens; entropy is in nats, of the distribution that tokens are drawn from. From the
source: the rule and its constants, and that the token which triggers it is still verified. Ours: nothing but that
the rule is declared, so that an engine may evaluate it by itself.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from paceline.core.records import StopRule
from paceline.core.state.declared import PolicyState
from paceline.policies.baselines.threshold_policy import ThresholdConfig, ThresholdPolicy
from paceline.policies.options import LARGEST_GAMMA


class SvipConfig(ThresholdConfig):
    """Draft until the draft's entropy exceeds a fixed bound."""

    name: Literal["svip"] = "svip"
    threshold: float = Field(
        default=0.3,
        gt=0,
        le=1,
        description="Largest bound on the probability of a refusal at which drafting goes on (h).",
    )
    kappa: float = Field(
        default=0.15,
        gt=0,
        allow_inf_nan=False,
        description="Half the divergence of the two models, as a share of the draft's entropy.",
    )
    max_gamma: int = Field(
        default=40, ge=1, le=LARGEST_GAMMA, description="Draft tokens of a round that nothing stops."
    )

    def build(self, seed: int = 0) -> SvipPolicy:
        """Return a fresh policy."""
        return SvipPolicy(self)


class SvipPolicy(ThresholdPolicy[PolicyState]):
    """A fixed threshold on the entropy."""

    def __init__(self, config: SvipConfig) -> None:
        super().__init__(config, PolicyState(), StopRule("entropy", above=config.threshold**2 / config.kappa))
