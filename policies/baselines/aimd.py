"""Up by two when every draft token was accepted, down by one otherwise.

The schedule that Hugging Face transformers calls "heuristic"
(https://github.com/huggingface/transformers/blob/main/src/transformers/generation/candidate_generator.py,
`update_candidate_strategy`). After a round that drafted d >= 1 tokens, of which m were accepted,

    gamma <- min(gamma + 2, max_gamma)     if m = d
    gamma <- max(gamma - 1, min_gamma)     otherwise.

It is named after the controllers of network congestion that it resembles (additive increase; the decrease here is
additive too). From transformers: the rule, its two steps, the floor of 1, and 5 as the first gamma it used to have.
Ours: the ceiling; that a round which was ended changes nothing, where transformers takes a proposal cut by the end
of the text for a refusal; and that a round which proposed nothing changes nothing.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from paceline.policies.baselines.gamma_controller import GammaController, GammaControllerConfig, GammaState


class AimdConfig(GammaControllerConfig):
    """Draft more when everything was accepted, and a little less whenever something was not."""

    name: Literal["aimd"] = "aimd"
    first_gamma: int = Field(default=5, ge=1, description="Gamma to start from; `max_gamma` if that is less.")
    increase: int = Field(default=2, ge=1, description="Added to gamma when every draft token was accepted.")
    decrease: int = Field(default=1, ge=1, description="Taken off gamma when a draft token was refused.")

    def build(self, seed: int = 0) -> AimdPolicy:
        """Return a fresh policy."""
        return AimdPolicy(self)


class AimdPolicy(GammaController[GammaState]):
    """Adds after full acceptance, subtracts after a refusal."""

    def __init__(self, config: AimdConfig) -> None:
        super().__init__(config, GammaState(config.min_gamma, config.max_gamma, config.first_gamma))
        self._increase = config.increase
        self._decrease = config.decrease

    def moved(self, accepted: int, drafted: int) -> int:
        """Return gamma after one verdict."""
        return self.state.gamma + (self._increase if accepted == drafted else -self._decrease)
