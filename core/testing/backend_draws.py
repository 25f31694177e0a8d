"""Sessions that draw: the same seed gives the same tokens, and what a draft drew it could have drawn."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from paceline.core.abilities import SampledDraft
from paceline.core.proposals import SampledProposal
from paceline.core.sampling.opening import open_draft, open_target
from paceline.core.sampling.settings import Sampling
from paceline.core.testing.reference import require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.core.protocols import Draft, Proposal, Target

CERTAIN = Sampling(top_k=1)
"""Drawing from the likeliest token alone."""

HOT = Sampling(temperature=2.0)
SEEDS = 6
ROUNDS = 4
GAMMA = 3


def draws_repeat(target: Target, draft: Draft | None, starts: Sequence[tuple[int, ...]]) -> None:
    """Decode short texts with several seeds, each twice: all chance comes from the seed of `Sampling`."""
    for seed in range(SEEDS):
        sampling = replace(HOT, seed=seed)
        first, again = (_decode(target, draft, starts[-1], sampling) for _ in range(2))
        require(
            first == again,
            f"with the seed {seed} sessions that draw wrote {first}, and then {again}: chance must come from "
            "`sampling.seed` alone",
        )
    texts = {_decode(target, None, starts[-1], replace(HOT, seed=seed)) for seed in range(SEEDS)}
    require(
        len(texts) > 1 or target.vocabulary == 1,
        f"with {SEEDS} seeds at temperature {HOT.temperature} the target alone wrote one text: the seed is not used",
    )


def _decode(
    target: Target, draft: Draft | None, prompt: tuple[int, ...], sampling: Sampling
) -> tuple[int, ...]:
    written: list[int] = []
    writing = open_target(target, prompt, sampling)
    drafting = open_draft("draft", draft, prompt, sampling) if draft is not None else None
    for _ in range(ROUNDS):
        if target.max_context is not None and len(prompt) + len(written) + GAMMA + 1 > target.max_context:
            break
        proposal = drafting.draft(GAMMA, None) if drafting is not None else None
        if proposal is not None and isinstance(draft, SampledDraft):
            _could_be_drawn(proposal)
        verdict = writing.verify(proposal if proposal is not None and len(proposal) else None)
        tokens = tuple(verdict.tokens)
        require(
            len(tokens) == verdict.accepted + 1,
            f"V1: {verdict.accepted} accepted, but {len(tokens)} tokens given",
        )
        wrong = [token for token in tokens if not 0 <= token < target.vocabulary]
        require(not wrong, f"V1: {wrong} drawn, the vocabulary is {target.vocabulary}")
        written += tokens
        for session in (writing, drafting):
            if session is not None:
                session.advance(tokens)
    for session in (writing, drafting):
        if session is not None:
            session.close()
    return tuple(written)


def _could_be_drawn(proposal: Proposal) -> None:
    """Look at what each token was drawn from, where the proposal holds it as numbers."""
    if isinstance(proposal, SampledProposal):
        for chances in proposal.chances:
            require(
                math.isclose(math.fsum(chances), 1.0, abs_tol=1e-3),
                f"D2: the chances that a token was drawn from add up to {math.fsum(chances)}",
            )
