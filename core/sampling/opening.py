"""Opens the sessions of a request, sampled ones where tokens are to be drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from paceline.core.abilities import SampledDraft, SampledTarget
from paceline.core.blame import blame
from paceline.core.errors import CapabilityError

if TYPE_CHECKING:
    from paceline.core.protocols import Draft, DraftSession, Target, TargetSession
    from paceline.core.sampling.settings import Sampling


def check_sampling(target: Target, sampling: Sampling) -> None:
    """Refuse to sample with a target that cannot.

    Raises:
        CapabilityError: The target only decodes greedily.
    """
    if sampling.plain or (target.capabilities.sampling and isinstance(target, SampledTarget)):
        return
    raise CapabilityError(
        f"target {blame(target)} cannot sample; leave sampling out, or use temperature 0.0 without repetition_penalty"
    )


def open_target(target: Target, prompt: Sequence[int], sampling: Sampling) -> TargetSession:
    """Open a session of the target."""
    if sampling.plain:
        return target.open(prompt)
    assert isinstance(target, SampledTarget)  # as checked before
    return target.open_sampled(prompt, sampling.of("target"))


def open_draft(name: str, draft: Draft, prompt: Sequence[int], sampling: Sampling) -> DraftSession:
    """Open a session of a draft; one that cannot sample proposes as it always does, and its tokens count as certain."""
    if sampling.plain or not isinstance(draft, SampledDraft):
        return draft.open(prompt)
    return draft.open_sampled(prompt, sampling.of(f"draft {name}"))
