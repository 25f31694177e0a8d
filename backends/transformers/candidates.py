"""A candidate generator of transformers in the draft's role.

transformers finds candidates for its assisted generation by classes of its own (`CandidateGenerator`): an assistant,
one with another tokenizer, prompt lookup, early exit, or one that you write. `generate` has no argument for yours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from paceline.backends.torch.sampling import DeviceProposal
from paceline.core.errors import BackendError
from paceline.core.proposals import TokenProposal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paceline.core.proposals import DraftControl
    from paceline.core.protocols import Proposal
    from paceline.core.records import Signal


def candidate_draft(
    generator: Any | Callable[[torch.Tensor], Any], *, drawn: bool = False, device: str | torch.device = "cpu"
) -> CandidateDraft:
    """Return a draft that proposes what a candidate generator of transformers finds.

    Args:
        generator: A `CandidateGenerator`, or a function that makes one for a prompt, shape (1, tokens), which those
            need that keep a state of their own, such as a cache.
        drawn: Whether its tokens are drawn from the softmax of the logits that it returns. Without, each token counts
            as certain, which is lossless whatever they are.
        device: Where it expects tokens.

    Raises:
        BackendError: It needs the target's hidden states, which no draft is shown.
    """
    if hasattr(generator, "get_candidates"):
        _check(generator)
        return CandidateDraft(lambda _: generator, drawn=drawn, device=device)
    return CandidateDraft(generator, drawn=drawn, device=device)


def _check(generator: Any) -> None:
    if getattr(generator, "requires_model_outputs", False):
        raise BackendError(
            f"hf: {type(generator).__name__} reads the target's hidden states, which a draft is not shown; use one "
            "that goes by the tokens alone"
        )


class CandidateDraft:
    """Opens a session for each request; the arguments are those of `candidate_draft`."""

    signals: frozenset[Signal] = frozenset()

    def __init__(
        self, make: Callable[[torch.Tensor], Any], *, drawn: bool, device: str | torch.device
    ) -> None:
        self._make = make
        self._drawn = drawn
        self._device = torch.device(device)

    def open(self, prompt: Sequence[int]) -> CandidateSession:
        """Start a request."""
        ids = torch.tensor([list(prompt)], device=self._device)
        generator = self._make(ids)
        _check(generator)
        return CandidateSession(generator, ids, drawn=self._drawn)


class CandidateSession:
    """A candidate generator at work on one request; what it reads anew counts as no lag, for nobody knows."""

    lag = 0

    def __init__(self, generator: Any, ids: torch.Tensor, *, drawn: bool) -> None:
        self._generator = generator
        self._ids = ids
        self._drawn = drawn

    def draft(self, gamma: int, control: DraftControl | None) -> Proposal:
        """Propose the first `gamma` of its candidates at most."""
        if hasattr(self._generator, "num_assistant_tokens"):
            self._generator.num_assistant_tokens = gamma
        with torch.no_grad():
            ids, logits = self._generator.get_candidates(self._ids)
        new = ids[:, self._ids.shape[1] :][:, :gamma]
        tokens = tuple(new[0].tolist())
        if not self._drawn or logits is None or not tokens:
            return TokenProposal(tokens)
        return DeviceProposal(tokens, logits[0, : len(tokens)].float().softmax(dim=-1))

    def advance(self, tokens: Sequence[int]) -> None:
        """Take in tokens that were delivered."""
        self._ids = torch.cat([self._ids, self._ids.new_tensor([list(tokens)])], dim=1)

    def close(self) -> None:
        """Let go of the generator."""
        self._generator = None
