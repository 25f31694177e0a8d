"""The models of a configured run, loaded once and shared by every decoder that is made from them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from paceline.core.decoder import SpeculativeDecoder
from paceline.core.optional_protocols import Remembering
from paceline.core.plugins.catalogue import build_draft, build_policy, build_target
from paceline.core.state.scope import scoped_policy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from paceline.core.config.blocks import PolicyConfig
    from paceline.core.config.run import RunConfig
    from paceline.core.costs import LiveCosts
    from paceline.core.protocols import Draft, Policy, Target
    from paceline.core.state.checkpoint import Restore
    from paceline.core.trace import TraceWriter


@dataclass(frozen=True, slots=True)
class Models:
    """A target and its drafts, ready to open requests."""

    config: RunConfig
    target: Target
    drafts: Mapping[str, Draft]

    def decoder(self, *, trace: TraceWriter | None = None) -> SpeculativeDecoder:
        """Return a decoder for the configured policy, drafts and scope."""
        learns = scoped_policy(self.config, self.target, self.drafts)
        return self._decoder(
            learns.policy,
            self.drafts,
            costs=learns.costs,
            trace=trace,
            restore=learns.restore,
            turn=learns.turn,
        )

    def untraced(self, decoder: SpeculativeDecoder) -> SpeculativeDecoder:
        """Return a decoder that goes on where `decoder` is, with what it learnt, and leaves no trace and no memory."""
        fresh = partial(build_policy, self.config.policy, self.config.generation.seed)
        policy = fresh if self.config.scope == "request" else decoder.policy
        return self._decoder(policy, forgetful(self.drafts), costs=decoder.costs)

    def under(self, policy: PolicyConfig, drafts: Mapping[str, Draft] | None = None) -> SpeculativeDecoder:
        """Return a decoder for another policy, which keeps learning from prompt to prompt."""
        return self._decoder(
            build_policy(policy, self.config.generation.seed), self.drafts if drafts is None else drafts
        )

    def trying(self, policy: Policy) -> SpeculativeDecoder:
        """Return a decoder for a policy that is at hand and has no block."""
        return self._decoder(policy, self.drafts)

    def _decoder(
        self,
        policy: Policy | Callable[[], Policy],
        drafts: Mapping[str, Draft],
        *,
        costs: LiveCosts | None = None,
        trace: TraceWriter | None = None,
        restore: Restore | None = None,
        turn: AbstractContextManager[object] | None = None,
    ) -> SpeculativeDecoder:
        return SpeculativeDecoder(
            self.target,
            drafts,
            policy,
            costs=costs,
            trace=trace,
            on_policy_error=self.config.on_policy_error,
            sampling=self.config.generation.sampling(),
            stop=self.config.generation.stop,
            restore=restore,
            turn=turn,
        )


def load_models(config: RunConfig, *, remember: bool = False) -> Models:
    """Load the models of a run.

    Args:
        config: The run.
        remember: Whether drafts may know of other requests. What is measured must not: see `Remembering`.

    Raises:
        BackendError: A backend cannot load its model, or a draft does not fit the target.
    """
    target = build_target(config.target)
    drafts = {name: build_draft(draft, target) for name, draft in config.drafts.items()}
    return Models(config, target, drafts if remember else forgetful(drafts))


def forgetful(drafts: Mapping[str, Draft]) -> dict[str, Draft]:
    """Return the drafts without what they remember of other requests."""
    return {
        name: draft.forgetful() if isinstance(draft, Remembering) else draft for name, draft in drafts.items()
    }
