"""Reports on a decoding: a line while it goes on, a line at its end, and a JSON document."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from paceline.core.environment import versions
from paceline.lab.stats import times

if TYPE_CHECKING:
    from paceline.core.config.run import RunConfig
    from paceline.core.protocols import Costs
    from paceline.core.records import Round
    from paceline.lab.decoding import Decoding


def live_line(decoding: Decoding, done: Round, costs: Costs) -> str:
    """Return the line shown while text is written.

    The speed against plain decoding is an estimate: what a plain step would cost by the timings of this run.
    """
    totals = decoding.totals
    plan = done.plan
    draft = f"{plan.draft}, " if plan.gamma else ""
    reason = f" ({plan.reason})" if plan.reason else ""
    parts = [
        f"{draft}gamma {plan.gamma}{reason}",
        f"accepted {totals.acceptance:.0%}",
        f"{totals.tokens_per_second:.1f} tok/s",
    ]
    plain_s = costs.verify_s(1, done.context)
    if plain_s > 0 and decoding.gammas:
        parts.append(f"about {times(totals.tokens_per_second * plain_s, 1)} plain")
    return " | ".join(parts)


def summary(decoding: Decoding, policy: str) -> str:
    """Return the one line that closes a decoding."""
    totals = decoding.totals
    return (
        f"{totals.emitted} tokens in {totals.rounds} rounds ({totals.tokens_per_round:.2f} a round), "
        f"{totals.acceptance:.0%} of {totals.drafted} drafted accepted, {totals.tokens_per_second:.1f} tok/s, "
        f"policy {policy}, {f'ended by {decoding.ended}' if decoding.ended else 'interrupted'}"
    )


def decoding_values(
    config: RunConfig, decoding: Decoding, *, text: str, prompt_tokens: int
) -> dict[str, Any]:
    """Return everything about a decoding as JSON-able values."""
    totals = decoding.totals
    return {
        "text": text,
        "tokens": decoding.tokens,
        "rounds": totals.rounds,
        "drafted": totals.drafted,
        "accepted": totals.accepted,
        "emitted": totals.emitted,
        "tokens_per_second": totals.tokens_per_second,
        "policy": config.policy.name,
        "ended": decoding.ended,
        "prompt_tokens": prompt_tokens,
        "prefill_seconds": totals.prefill_s,
        "seconds": totals.seconds,
        "tokens_per_round": totals.tokens_per_round,
        "acceptance": totals.acceptance,
        "overhead": totals.overhead,
        "gammas": decoding.gammas,
        "failures": [asdict(failure) for failure in decoding.failures],
        "target": config.target.model_dump(mode="json"),
        "drafts": {name: draft.model_dump(mode="json") for name, draft in config.drafts.items()},
        "versions": versions(),
    }
