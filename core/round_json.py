"""Rounds as JSON-able values, as they stand in traces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from paceline.core.records import DraftState, Plan, Round, StopRule, TokenSignals, TreeOutcome


def round_to_json(done: Round) -> dict[str, Any]:
    """Return a round as JSON-able values; what is empty is left out."""
    values = asdict(done)
    plan, score_s = values["plan"], values.pop("score_s")
    plan["score"] = sorted(done.plan.score) or None
    plan["look"] = False if plan.pop("use_signals") is False else None
    if not done.plan.nodes:
        del plan["nodes"], plan["width"]
    matches = {name: state.match_length for name, state in done.drafts.items()}
    optional = {
        "hint": values.pop("match_length"),
        "signals": values.pop("signals") or None,
        "lags": {name: state.lag for name, state in values.pop("drafts").items()} or None,
        "hints": _without_none(matches) or None,
        "scores": values.pop("scores") or None,
        "score_s": score_s if done.scores else None,
        "tree": None if (tree := values.pop("tree")) is None else tree._asdict(),
    }
    return values | {"plan": _without_none(plan)} | _without_none(optional)


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def round_from_json(values: Mapping[str, Any]) -> Round:
    """Return the round that `round_to_json` made these values from; unknown keys are ignored."""
    known = {key: values[key] for key in Round.__dataclass_fields__ if key in values}
    plan = dict(known["plan"])
    plan["use_signals"] = plan.get("look", True)
    if plan.get("stop") is not None:
        plan["stop"] = StopRule(**plan["stop"])
    plan["score"] = frozenset(plan.get("score", ()))
    known["plan"] = Plan(**{key: plan[key] for key in Plan.__dataclass_fields__ if key in plan})
    known["tokens"] = tuple(known["tokens"])
    known["match_length"], match_lengths = values.get("hint"), values.get("hints", {})
    known["drafts"] = {
        name: DraftState(lag, match_lengths.get(name)) for name, lag in values.get("lags", {}).items()
    }
    known["scores"] = {name: tuple(probs) for name, probs in known.get("scores", {}).items()}
    known["signals"] = tuple(TokenSignals(**signals) for signals in known.get("signals", ()))
    if (tree := values.get("tree")) is not None:
        known["tree"] = TreeOutcome(tree["nodes"], tuple(tree["ranks"]), tuple(tree["offered"]))
    return Round(**known)
