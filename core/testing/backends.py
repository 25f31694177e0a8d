"""The kit that tries a backend: a state machine that drafts, verifies, cuts, idles, abandons, and compares.

Whatever happened before, a session must answer as one freshly opened on prompt + emitted tokens. Use it in a test of
your own; it needs `hypothesis`, and a model precise enough that the block in which a token is computed does not change
the likeliest one (float64, or no near-ties).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from paceline.core.abilities import SampledTarget
from paceline.core.testing.backend_draws import CERTAIN, draws_repeat
from paceline.core.testing.backend_rounds import BackendRounds
from paceline.core.testing.reference import Logits, Reference, require

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paceline.core.protocols import Draft, Target


def check_backend(
    target: Callable[[], Target],
    draft: Callable[[Target], Draft] | None = None,
    *,
    prompts: Sequence[Sequence[int]] | None = None,
    logits: Logits | None = None,
    tolerance: float = 1e-9,
    max_examples: int = 25,
    steps: int = 12,
    shrink: bool = True,
) -> None:
    """Drive a target, and a draft if there is one, through random rounds; fail with the shortest story that breaks one.

    A target that samples is driven so again with sessions that draw: from the likeliest token alone, which must give
    the same text, and with everything open, where the same seed must give the same tokens and another one others.

    Args:
        target: Makes the target; called once.
        draft: Makes a draft for it; called once. Its sessions must be functions of their context.
        prompts: Where requests start; by default one of 1, one of 2 and one of 20 tokens.
        logits: Reads a session's logits of the next token, to compare them with those of a fresh session.
        tolerance: The largest difference of logits allowed.
        max_examples: Stories to try.
        steps: Rounds in one story.
        shrink: Whether a failing story is shortened before it is told, which can take a while.

    Raises:
        AssertionError: A contract is broken; the message starts with its number in `paceline.core.protocols`.
    """
    model = target()
    other = draft(model) if draft is not None else None
    starts = [tuple(prompt) for prompt in prompts or default_prompts(model.vocabulary)]
    reference = Reference(model, other, logits, tolerance)
    _drive({"reference": reference, "starts": starts}, max_examples, steps, shrink=shrink)
    if model.capabilities.sampling:
        require(
            isinstance(model, SampledTarget),
            "its capabilities say that it samples, but there is no `open_sampled`",
        )
        drawn = {"reference": Reference(model, other, None, tolerance), "starts": starts, "sampling": CERTAIN}
        _drive(drawn, max(1, max_examples // 2), steps, shrink=shrink)
        draws_repeat(model, other, starts)


def _drive(members: dict[str, object], examples: int, steps: int, *, shrink: bool) -> None:
    run_state_machine_as_test(
        type("Rounds", (BackendRounds,), members),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            report_multiple_bugs=False,
            phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


def default_prompts(vocabulary: int) -> list[list[int]]:
    """Return prompts of 1, 2 and 20 tokens that look random and are always the same."""
    return [[(7 + 13 * index * index) % vocabulary for index in range(size)] for size in (1, 2, 20)]
