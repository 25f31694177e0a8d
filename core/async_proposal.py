"""Proposals that a device is still working on when the draft returns.

Reading one waits for the device. So the loop hands it to the target as it is, and looks at it afterwards: where both
models are on one device, a round then costs one copy to the host instead of two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from paceline.core.clock import WallClock

if TYPE_CHECKING:
    from paceline.core.protocols import Clock, Proposal


@runtime_checkable
class AsyncProposal(Protocol):
    """A proposal, of at least one token, that may be verified before anyone on the host has read it."""

    @property
    def seconds(self) -> float | None:
        """What the device took to draft, by its own clock; None until that is known, which verification makes it."""
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
