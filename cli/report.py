"""What `generate` says about a decoding: the live line, the summary, and the JSON document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from paceline.lab.bench.machine import versions

if TYPE_CHECKING:
    from paceline.core.config.run import RunConfig
    from paceline.core.protocols import Costs
    from paceline.core.records import Round
    from paceline.lab.compare import Comparison
    from paceline.lab.decoding import Decoding

STRIP_ROUNDS = 200


def live_line(decoding: Decoding, done: Round, costs: Costs) -> str:
    """Return the line shown while text is written.

    The speed against plain decoding is an estimate: what a plain step would cost by the timings of this run.
    """
    totals = decoding.totals
    reason = f" ({done.plan.reason})" if done.plan.reason else ""
    parts = [
        f"gamma {done.plan.gamma}{reason}",
        f"accepted {totals.acceptance:.0%}",
        f"{totals.tokens_per_second:.1f} tok/s",
    ]
    plain_s = costs.verify_s(1, done.context)
    if plain_s > 0 and decoding.gammas:
        parts.append(f"about {totals.tokens_per_second * plain_s:.1f}x plain")
    return " | ".join(parts)


def summary(decoding: Decoding, policy: str) -> str:
    """Return the one line that closes a decoding."""
    totals = decoding.totals
    return (
        f"{totals.emitted} tokens in {totals.rounds} rounds ({totals.tokens_per_round:.2f} a round), "
        f"{totals.acceptance:.0%} of {totals.drafted} drafted accepted, {totals.tokens_per_second:.1f} tok/s, "
        f"policy {policy}, {f'ended by {decoding.ended}' if decoding.ended else 'interrupted'}"
    )


def strip(gammas: list[int]) -> str:
    """Return the gammas of all rounds in a row, the last ones where they are too many."""
    shown = " ".join(str(gamma) for gamma in gammas[-STRIP_ROUNDS:])
    return f"... {shown}" if len(gammas) > STRIP_ROUNDS else shown


def document(
    config: RunConfig,
    decoding: Decoding,
    *,
    text: str,
    prompt_tokens: int,
    comparison: Comparison | None = None,
) -> dict[str, Any]:
    """Return everything about a decoding as JSON-able values."""
    totals = decoding.totals
    found: dict[str, Any] = {
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
        "target": config.target.model_dump(mode="json"),
        "drafts": {name: draft.model_dump(mode="json") for name, draft in config.drafts.items()},
        "versions": versions(),
    }
    if comparison is not None:
        found |= {
            "plain_tokens_per_second": comparison.plain_rate,
            "compared_tokens_per_second": comparison.rate,
            "speedup": comparison.speedup,
            "speedup_min": comparison.slowest,
            "speedup_max": comparison.fastest,
            "pairs": comparison.pairs,
            "identical": comparison.identical,
        }
    return found
