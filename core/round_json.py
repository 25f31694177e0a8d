"""Finished rounds as JSON-able values, as they stand in traces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from paceline.core.records import DraftState, Plan, Round, StopRule, TokenSignals


def round_to_json(done: Round) -> dict[str, Any]:
    """Return a round as JSON-able values; what is empty is left out."""
    values = asdict(done)
    plan = {key: value for key, value in values["plan"].items() if value is not None}
    plan["score"] = sorted(done.plan.score)
    if not done.plan.score:
        del plan["score"]
    if plan.pop("use_signals") is False:
        plan["look"] = False
    values["plan"] = plan
    del values["drafts"]
    values["hint"] = values.pop("match_length")
    values["lags"] = {name: state.lag for name, state in done.drafts.items()}
    values["hints"] = {
        name: state.match_length for name, state in done.drafts.items() if state.match_length is not None
    }
    if done.match_length is None:
        del values["hint"]
    for key in ("signals", "lags", "hints"):
        if not values[key]:
            del values[key]
    if not done.scores:
        del values["scores"], values["score_s"]
    return values


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
    known["scores"] = {name: tuple(one) for name, one in known.get("scores", {}).items()}
    known["signals"] = tuple(TokenSignals(**signals) for signals in known.get("signals", ()))
    return Round(**known)
