"""The check for policies that plugin authors and paceline itself run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

from paceline.core.config.blocks import PolicyConfig
from paceline.core.errors import CapabilityError
from paceline.core.guard import check_fit
from paceline.core.members import has
from paceline.core.records import SIGNALS, Capabilities
from paceline.core.testing import policy_laws as laws
from paceline.core.testing import policy_memory as memory
from paceline.core.testing import policy_serving as serving
from paceline.core.testing import policy_states as states
from paceline.core.testing.policy_trials import demand

if TYPE_CHECKING:
    from paceline.core.protocols import DraftSession, Policy
    from paceline.core.records import Signal

ENGINES = (
    Capabilities(),
    Capabilities(gammas=(1, 3, 7)),
    Capabilities(zero_gamma=False),
    Capabilities(gammas=(4, 8), zero_gamma=False),
    Capabilities(draft_switch="none"),
    Capabilities(draft_switch="request"),
    Capabilities(latency="none", action_delay=1),
    Capabilities(
        gammas=tuple(range(9)), draft_switch="none", latency="fused", action_delay=1, signals=frozenset()
    ),
)
"""The kinds of engine a policy is tried on, as far as its `requires` admits them."""


def check_policy(
    policy: PolicyConfig | type[PolicyConfig] | Callable[[], Policy],
    *,
    drafts: Sequence[str] = ("draft",),
    examples: int = 50,
) -> None:
    """Check that a policy keeps the contract of a round.

    Checked are: the declarations; 0 <= gamma <= budget and known drafts on every kind of engine the policy admits,
    also when requests are abandoned half-way, drafts fail, propose less than planned or nothing, or deliver no
    signals, and when match lengths or scores are missing, or scores are of drafts that are not there; equal plans of
    equal policies, and neither a clock nor a shared generator; a configuration that survives being written and read;
    that rounds which were ended are not taken for refusals; on engines that decode batches or act with a delay, that
    plans without a round, with several and with late ones are borne, and that every round teaches about its own plan; a
    state, if there is one, that survives JSON in the middle of a run, may be asked for within a round, and is refused
    when damaged; exports that add up, if there are any; and bounded memory, without the text.
    A policy that holds others is checked together with them.

    Args:
        policy: A configuration, a configuration class with defaults for all options, or a function that returns a
            fresh policy at every call, always of the same seed.
        drafts: Names of the drafts to offer.
        examples: Random lives per property.

    Raises:
        AssertionError: The policy breaks one; the message is a sentence about it.
    """
    config: PolicyConfig | Callable[[], Policy]
    if isinstance(policy, type) and issubclass(policy, PolicyConfig):
        config = policy.model_validate({})
    else:
        config = cast("PolicyConfig | Callable[[], Policy]", policy)
    if isinstance(config, PolicyConfig):
        _survives_writing(config)
    make = _factory(config)
    laws.declares_itself(make)
    for engine in ENGINES:
        if _admits(make(), engine, drafts):
            laws.stays_lawful(make, drafts, engine, examples)
    laws.repeats_itself(make, drafts, examples)
    laws.reads_no_clock(make, drafts)
    laws.tells_cut_from_refused(make, drafts)
    if has(make(), "state_dict"):
        states.survives_a_restart(make, drafts, examples)
        states.can_be_saved_within_a_round(make, drafts)
        states.refuses_damaged_state(make, drafts)
    states.pools(make, drafts)
    for engine in serving.ENGINES:
        if _admits(make(), engine, drafts):
            serving.bears_batches_and_delay(make, drafts, engine, laws.lawful(drafts, engine), examples)
            serving.learns_from_every_round(make, drafts, engine)
            serving.learns_from_the_rounds_own_plan(make, drafts, engine)
            serving.keeps_no_plans(make, drafts, engine)
    memory.keeps_no_text(make, drafts)
    memory.stays_small(make, drafts)


class _AnyDraft:
    """A draft that can compute every signal and is never opened."""

    signals: frozenset[Signal] = SIGNALS

    def open(self, prompt: Sequence[int]) -> DraftSession:
        raise NotImplementedError(f"this draft only has a name; it cannot read {len(prompt)} tokens")


def _factory(policy: PolicyConfig | Callable[[], Policy]) -> Callable[[], Policy]:
    return (lambda: policy.build(seed=0)) if isinstance(policy, PolicyConfig) else policy


def _survives_writing(config: PolicyConfig) -> None:
    kind = type(config)
    read = (
        kind.model_validate(config.model_dump(mode="json")),
        kind.model_validate_json(config.model_dump_json()),
    )
    demand(
        read == (config, config), f"the configuration {config!r} reads back as {read[0]!r} and {read[1]!r}"
    )
    demand(config.build(0) is not config.build(0), "build() must return a fresh policy at every call")


def _admits(policy: Policy, engine: Capabilities, drafts: Sequence[str]) -> bool:
    try:
        check_fit(policy, engine, {name: _AnyDraft() for name in drafts})
    except CapabilityError:
        return False
    return True
