"""The end of a round: what stands in its record, written once for the loop, the testing kit, replay and engines."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from paceline.core.records import Round

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from paceline.core.records import Ended, Plan, RoundStart, TokenSignals


def name_draft(plan: Plan, drafts: Iterable[str]) -> Plan:
    """Return a plan under its draft's name: the first of `drafts` where it names none, and none where gamma is 0."""
    draft = None if plan.gamma == 0 else plan.draft or next(iter(drafts), None)
    return plan if plan.draft == draft else replace(plan, draft=draft)


def finish_round(
    start: RoundStart,
    plan: Plan,
    drafted: int,
    accepted: int,
    tokens: tuple[int, ...],
    ended: Ended | None,
    draft_s: float,
    verify_s: float,
    total_s: float,
    signals: tuple[TokenSignals, ...] = (),
    scores: Mapping[str, tuple[float, ...]] | None = None,
    score_s: float = 0.0,
) -> Round:
    """Return the record of a round.

    Args:
        start: Where the request stood before it. An engine that plans for several requests at once, or ahead of time,
            gives each request its own.
        plan: What it was drafted under, its draft named: see `name_draft`.
        drafted: Draft tokens proposed.
        accepted: Those that the target agreed with.
        tokens: What was delivered, cut where the text ended.
        ended: Why it was cut, if it was.
        draft_s: Seconds of drafting; 0 where only the sum of drafting and verifying is known.
        verify_s: Seconds of verifying, or the sum.
        total_s: Seconds of the round.
        signals: One record for each draft token, if signals were asked for.
        scores: What other drafts made of the tokens delivered, where `Plan.score` asked them.
        score_s: Seconds the scoring took.
    """
    draft = plan.draft
    state = None if draft is None else start.drafts.get(draft)
    return Round(
        start.index,
        start.position,
        start.context,
        plan,
        0 if state is None else state.lag,
        drafted,
        accepted,
        len(tokens),
        ended,
        draft_s,
        verify_s,
        total_s,
        tokens,
        signals,
        None if state is None else state.match_length,
        scores or {},
        score_s,
        start.drafts,
    )
