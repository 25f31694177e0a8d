"""The rules of a plan: what an engine can run in the round that it is for."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

from paceline.core.errors import short_repr
from paceline.core.records import Plan, StopRule

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paceline.core.protocols import Draft
    from paceline.core.records import RoundStart

MAX_REASON_LENGTH = 100
"""Characters of `Plan.reason`, which is a word for a live line and a trace."""


def flaw(plan: object, start: RoundStart, drafts: Mapping[str, Draft]) -> str | None:
    """Return what is wrong with a plan and what would be right, or None."""
    if not isinstance(plan, Plan):
        return f"plan() must return a Plan, found {short_repr(plan)}"
    gamma = plan.gamma
    if not isinstance(gamma, int) or isinstance(gamma, bool):
        return f"gamma must be an int, found {short_repr(gamma)}; choose from start.gammas(limit)"
    if not 0 <= gamma <= start.budget:
        return (
            f"gamma must be between 0 and the budget of {start.budget}, found {short_repr(gamma)}; "
            "choose from start.gammas(limit)"
        )
    problem = _wrong_words(plan, drafts) or _not_run(gamma, start)
    if problem is None and (plan.nodes != 0 or plan.width != 1):
        problem = _wrong_tree(plan, start)
    return problem if problem is not None or gamma == 0 else _wrong_draft(plan, drafts)


def _wrong_words(plan: Plan, drafts: Mapping[str, Draft]) -> str | None:
    draft: object = plan.draft
    if draft is not None and not isinstance(draft, str):
        return f"draft must be the name of a draft or None, found {short_repr(draft)}"
    score: object = plan.score
    if not isinstance(score, frozenset) or (score and not score <= drafts.keys()):
        return (
            f"score must be a frozenset of drafts, found {short_repr(score)}; the drafts are {_names(drafts)}"
        )
    stop: object = plan.stop
    if stop is not None and not isinstance(stop, StopRule):
        return f"stop must be a StopRule or None, found {short_repr(stop)}"
    reason: object = plan.reason
    if reason is not None and not (isinstance(reason, str) and len(reason) <= MAX_REASON_LENGTH):
        return f"reason must be None or text of at most {MAX_REASON_LENGTH} characters, found {short_repr(reason)}"
    if not isinstance(plan.use_signals, bool):
        return f"use_signals must be True or False, found {short_repr(plan.use_signals)}"
    return None


def _not_run(gamma: int, start: RoundStart) -> str | None:
    gammas = start.capabilities.gammas
    if gamma > 0:
        if gammas is None or gamma in gammas:
            return None
        listed = ", ".join(map(str, gammas))
        return f"this engine runs gamma {listed}, found {gamma}; choose from start.gammas(limit)"
    running = (1,) if gammas is None else gammas
    if start.capabilities.zero_gamma or not any(0 < able <= start.budget for able in running):
        return None
    return (
        "this engine always drafts, found gamma 0; choose from start.gammas(limit), or have such engines refused with "
        "Requirements(zero_gamma=True)"
    )


def _wrong_tree(plan: Plan, start: RoundStart) -> str | None:
    nodes: object = plan.nodes
    width: object = plan.width
    for name, number in (("nodes", nodes), ("width", width)):
        if not isinstance(number, int) or isinstance(number, bool):
            return f"{name} must be an int, found {short_repr(number)}"
    if not 1 <= plan.gamma <= plan.nodes or plan.width < 1:
        return (
            "a tree has nodes >= gamma >= 1 and a width of at least 1, and a chain nodes 0 and width 1; found "
            f"gamma {plan.gamma}, nodes {plan.nodes}, width {plan.width}"
        )
    able = start.capabilities.nodes
    if plan.nodes > able:
        limit = f"trees of at most {able} nodes" if able else "chains alone"
        return (
            f"in this round {limit} can be verified, found a tree of {plan.nodes}; look at start.capabilities.nodes, "
            "or return start.fit(plan)"
        )
    return None


def _wrong_draft(plan: Plan, drafts: Mapping[str, Draft]) -> str | None:
    name, stop = plan.draft or next(iter(drafts), None), plan.stop
    if name is None or name not in drafts:
        return (
            f"there is no draft {short_repr(name)}; the drafts are {_names(drafts)}: choose from start.drafts"
        )
    if stop is None:
        return None
    bound: object = stop.below if stop.below is not None else stop.above
    if not isinstance(bound, int | float) or not isfinite(bound):
        return f"a stop rule needs a threshold that is a finite number, found {short_repr(bound)}"
    if stop.signal not in drafts[name].signals:
        return (
            f"draft {name!r} cannot evaluate the stop rule {short_repr(stop)}: it does not deliver that signal; name "
            "the signal in Requirements(signals=...), and such drafts are refused before the first token"
        )
    return None


def _names(drafts: Mapping[str, Draft]) -> str:
    return ", ".join(map(repr, drafts)) or "none at all"
