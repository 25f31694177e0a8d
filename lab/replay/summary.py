"""A replay in a few numbers a policy: what the terminal shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from paceline.lab.policies import static_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from paceline.lab.regret.hindsight import Hindsight
    from paceline.lab.replay.results import Order, Pass, Replay, Start


@dataclass(frozen=True, slots=True)
class Row:
    """One policy in one order and start, over all seeds and draws.

    Attributes:
        rate: Tokens a second, in virtual time.
        over_plain, over_static: That rate over the one of plain decoding, and of the best static choice in hindsight,
            whether that was replayed or not.
        accepted_tokens: Tokens delivered a round; 1 for plain decoding.
        captured: Share of the time between plain decoding and the optimum that is saved; None where that is unknown.
    """

    label: str
    static: bool
    rate: float
    over_plain: float
    over_static: float
    accepted_tokens: float
    captured: float | None


@dataclass(frozen=True, slots=True)
class Table:
    """All policies in one order and start, the fastest first, and the best of all static choices on these texts."""

    order: Order
    start: Start
    rows: Sequence[Row]
    best_static: str


def summarise(replay: Replay, statics: Hindsight, optimum: Mapping[str, float] | None = None) -> list[Table]:
    """Return one table for each order and start, in the order of the replay.

    Args:
        replay: With plain decoding in it.
        statics: What every static choice takes.
        optimum: The least seconds of each text, where they are known.
    """
    fields: dict[tuple[Order, Start], dict[str, list[Pass]]] = {}
    for one in replay.passes:
        fields.setdefault((one.order, one.start), {}).setdefault(one.label, []).append(one)
    return [_table(way, passes, statics, optimum or {}) for way, passes in fields.items()]


def _table(
    way: tuple[Order, Start],
    passes: Mapping[str, Sequence[Pass]],
    statics: Hindsight,
    optimum: Mapping[str, float],
) -> Table:
    seconds = {label: _sum(some, "seconds") for label, some in passes.items()}
    tokens = {label: _sum(some, "tokens") for label, some in passes.items()}
    rates = {label: tokens[label] / seconds[label] for label in passes}
    plain = static_name(0)
    fixed = {label for label, some in passes.items() if some[0].policy.get("name") == "static"}
    texts = tuple(dict.fromkeys(outcome.text for outcome in passes[plain][0].outcomes))
    best = statics.best(texts, [one.draw for one in passes[plain]])
    best_rate = sum(outcome.tokens for outcome in passes[plain][0].outcomes) / sum(best.seconds.values())
    rows = []
    for label, some in passes.items():
        played = [outcome.text for one in some for outcome in one.outcomes]
        captured = None
        if played and all(text in optimum for text in played):
            least = sum(optimum[text] for text in played)
            # Of plain decoding as often as this policy was tried: they are tried on the same texts.
            slowest = seconds[plain] * tokens[label] / tokens[plain]
            captured = (slowest - seconds[label]) / (slowest - least) if slowest > least else None
        rows.append(
            Row(
                label=label,
                static=label in fixed,
                rate=rates[label],
                over_plain=rates[label] / rates[plain],
                over_static=rates[label] / best_rate,
                accepted_tokens=tokens[label] / _sum(some, "rounds"),
                captured=captured,
            )
        )
    return Table(*way, sorted(rows, key=lambda row: -row.rate), best.label)


def _sum(passes: Iterable[Pass], key: str) -> float:
    return float(sum(getattr(outcome, key) for one in passes for outcome in one.outcomes))
