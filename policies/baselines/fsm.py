"""A finite state machine with one state for each gamma: a saturating counter.

The alternative to its analytical method that section 4.2 of "A Drop-In Solution for On-the-Fly Adaptation of
Speculative Decoding in Large Language Models" (ACL 2025, https://aclanthology.org/2025.acl-long.482) describes in
prose: gamma follows the history of acceptances and refusals in constant time. We know of no published table of
transitions. The one here is our reading, that of a saturating counter: after a round that proposed something,

    gamma <- min(gamma + 1, max_gamma)     if everything was accepted
    gamma <- max(gamma - 1, min_gamma)     otherwise.

Gamma settles where a block is accepted as a whole in every second round. With accuracy Acc of each token that is
the gamma with Acc^gamma = 1/2, whatever drafting costs: right by luck only. From the paper: that there is such a
machine. Our reading: its states and transitions. Ours: the bounds, and that rounds which were ended, or proposed
nothing, change no state.
"""

from __future__ import annotations

from typing import Literal

from paceline.policies.baselines.gamma_controller import GammaController, GammaControllerConfig, GammaState


class FsmConfig(GammaControllerConfig):
    """Count gamma up after full acceptance and down after a refusal, one step at a time."""

    name: Literal["fsm"] = "fsm"

    def build(self, seed: int = 0) -> FsmPolicy:
        """Return a fresh policy."""
        return FsmPolicy(self)


class FsmPolicy(GammaController[GammaState]):
    """A counter that saturates at its bounds."""

    def __init__(self, config: FsmConfig) -> None:
        super().__init__(config, GammaState(config.min_gamma, config.max_gamma, config.first_gamma))

    def moved(self, accepted: int, drafted: int) -> int:
        """Return the neighbouring state."""
        return self.state.gamma + (1 if accepted == drafted else -1)
