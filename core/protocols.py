"""Protocols of targets, drafts, policies, clocks and cost models, as the loop uses them.

Protocols are for what others supply; nothing here is meant to be subclassed. Tokens are plain integers at
this boundary, so that a draft of one backend can run ahead of a target of another. Invariants are numbered as
the testing kit reports them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paceline.core.proposals import DraftControl
    from paceline.core.records import (
        Capabilities,
        Plan,
        Requirements,
        Round,
        RoundStart,
        Signal,
        TokenSignals,
    )


class Costs(Protocol):
    """Seconds a round would take, as far as it is known now. Every answer is finite and not negative."""

    def draft_s(self, draft: str, gamma: int, lag: int = 0) -> float:
        """Return the expected seconds to draft `gamma` tokens, first catching up on `lag` tokens."""
        ...

    def verify_s(self, length: int, context: int) -> float:
        """Return the expected seconds to verify a block of `length` = gamma + 1 tokens after `context` tokens.

        Never decreases as `length` grows. `length` 1 is plain decoding.
        """
        ...


class Proposal(Protocol):
    """Draft tokens waiting for verification; they may stay on the device until `tokens` is read."""

    def __len__(self) -> int: ...

    @property
    def tokens(self) -> Sequence[int]:
        """The proposed tokens, first one first."""
        ...

    @property
    def signals(self) -> Sequence[TokenSignals]:
        """One record a token when signals were asked for, else empty."""
        ...


class Verdict(Protocol):
    """The target's answer to a proposal."""

    @property
    def accepted(self) -> int:
        """Number of proposed tokens that the target agrees with: 0 <= accepted <= len(proposal)."""
        ...

    @property
    def tokens(self) -> Sequence[int]:
        """The accepted tokens and one more of the target's own: accepted + 1 tokens."""
        ...


class Session(Protocol):
    """One model's state for one request.

    S1: after `advance` the state describes prompt + emitted tokens and nothing else, or knows how far it lags.
    S2: `close` may be called at any time, more than once, and frees what the request held.
    """

    def advance(self, tokens: Sequence[int]) -> None:
        """Take in the tokens a round delivered, and forget whatever else was tried.

        Called once a round on the target and on every draft, whether it drafted or not.
        """
        ...

    def close(self) -> None:
        """Free what this request held."""
        ...


class DraftSession(Session, Protocol):
    """A draft at work on one request."""

    @property
    def lag(self) -> int:
        """Tokens of the context, its last one not counted, that the cache lacks."""
        ...

    def draft(self, gamma: int, control: DraftControl | None) -> Proposal:
        """Propose at most `gamma` >= 1 tokens that follow the context.

        D1: at most `gamma` tokens; fewer when `control` said stop or nothing better is known (possibly none).
        D2: every token that was sampled is in the proposal; `control` decides about the next one.
        """
        ...


class TargetSession(Session, Protocol):
    """A target at work on one request. At the start of a round its cache lacks only the last token."""

    def verify(self, proposal: Proposal | None) -> Verdict:
        """Compare a proposal with what the target itself would have produced, in one forward pass.

        None is a plain decoding step. V1: `accepted` and `tokens` as in `Verdict`, whatever was proposed.
        """
        ...


@runtime_checkable
class Codec(Protocol):
    """Turns text into tokens and back."""

    def encode(self, text: str) -> list[int]:
        """Return the tokens of `text`."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of `tokens`, special tokens left out."""
        ...


class Draft(Protocol):
    """A source of proposals, ready to open sessions."""

    @property
    def signals(self) -> frozenset[Signal]:
        """The signals its sessions can compute."""
        ...

    def open(self, prompt: Sequence[int]) -> DraftSession:
        """Start a request. Work on the prompt may wait until the first `draft`; until then it is lag."""
        ...


class Target(Protocol):
    """The model whose output is wanted, ready to open sessions."""

    @property
    def vocabulary(self) -> int:
        """Number of tokens; every token is in range(vocabulary)."""
        ...

    @property
    def eos(self) -> frozenset[int]:
        """The tokens that end a text."""
        ...

    @property
    def codec(self) -> Codec | None:
        """The tokenizer, or None when only tokens go in and out."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """The abilities of this engine."""
        ...

    @property
    def max_context(self) -> int | None:
        """The longest prompt + output, or None when there is no limit."""
        ...

    def open(self, prompt: Sequence[int]) -> TargetSession:
        """Start a request by reading all of the prompt but its last token."""
        ...


class Policy(Protocol):
    """Decides draft and gamma before a round, may end drafting early, learns from finished rounds.

    Order in paceline's own loop: one `plan`, then `keep_drafting` after each draft token (only if `needs` is not
    empty), one verification, then exactly one `observe`. An engine that decodes several requests together or acts with
    a delay (`RoundStart.batch`, `Capabilities.action_delay`) asks for one plan for all of them, and shows 0 to n
    finished rounds a plan, each when it is over: what is learnt is about `Round.plan`, never about the latest plan. P1:
    0 <= gamma <= budget. P2: the same configuration, seed and inputs give the same plans; a policy reads no clock and
    sees no tensor. P3: `plan` knows finished rounds only.

    At run time only `plan` and `observe` must be there; `paceline.core.guards.policy` says what stands for the others.
    """

    @property
    def needs(self) -> frozenset[Signal]:
        """Signals wanted after each draft token; empty means that nothing is copied from the device."""
        ...

    @property
    def requires(self) -> Requirements:
        """Abilities that the engine must have."""
        ...

    def plan(self, start: RoundStart) -> Plan:
        """Choose draft and gamma for the round that starts now."""
        ...

    def keep_drafting(self, signals: TokenSignals) -> bool:
        """Tell whether to draft another token after this one."""
        ...

    def observe(self, done: Round) -> None:
        """Learn from a finished round about `done.plan`, under which it was drafted, whatever was planned since.

        A round with `ended` set is censored, never a rejection.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return what was learnt as JSON-able values with a "version" key."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace what was learnt.

        Raises:
            ValueError: The state is damaged or of another version; the policy is left as it was.
        """
        ...


class Clock(Protocol):
    """A source of seconds."""

    def now(self) -> float:
        """Return seconds since some fixed moment; never decreases."""
        ...

    def spend(self, work: Work) -> None:
        """Account for a piece of work that has just been done; virtual clocks move on here, a wall clock does not."""
        ...


class Work(Protocol):
    """A piece of work a virtual clock can price: see `paceline.core.clock`."""

    def price(self, costs: Costs) -> float:
        """Return its seconds under a cost model."""
        ...
