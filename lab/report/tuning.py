"""Which policy to use: chosen on one half of the texts, judged on the other, and only if it makes a difference."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from paceline.core.errors import ConfigError
from paceline.lab.intervals import FEWEST
from paceline.lab.report.estimates import Times
from paceline.lab.validation import LARGEST_MISS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.lab.intervals import Ratio
    from paceline.lab.regret.hindsight import Hindsight
    from paceline.lab.replay.results import Outcome
    from paceline.lab.report.tally import Field

DEFAULT = "auto"
"""The policy of a run that names none."""

VARIED = 3
"""Policies whose options are tried: the fastest on the tuning texts of those that adapt."""

Why = Literal["faster", "noise", "plain"]
FASTER: Why = "faster"
NOISE: Why = "noise"
PLAIN: Why = "plain"
Try = Callable[
    [Mapping[str, Mapping[str, Any]], int], Mapping[str, tuple[Mapping[str, Any], Mapping[str, float]]]
]
"""Plays variations of policies: from blocks by label, and a budget, to blocks and seconds by text of each variation."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What to use, and how it was found.

    Attributes:
        label, policy: The choice.
        why: "faster" than the simplest choice, on texts it was not chosen on; "noise" where the fastest one was not, or
            by less than replays are off, so that the simplest was taken; "plain" where nothing beats plain decoding.
        fastest: The fastest on the tuning texts.
        simplest: What is used unless something is faster: the default policy, or else the best static choice.
        gain: The fastest over the simplest, on the judging texts.
        speedup: The choice over plain decoding, on the judging texts; for plain decoding, the fastest other one.
        best_static: The static choice that is best on the tuning texts, of all drafts and gammas; `over_static` is the
            choice over it, on the judging texts. None without a recording.
        tuning, judging: How many texts each half has.
        policies, variations: How many were compared.
        miss: By how much the replay misses what was measured, at most, as a share; None where nothing was measured.
    """

    label: str
    policy: Mapping[str, Any]
    why: Why
    fastest: str
    simplest: str
    gain: Ratio
    speedup: Ratio
    best_static: str | None
    over_static: Ratio | None
    tuning: int
    judging: int
    policies: int
    variations: int
    miss: float | None = None


def halves(outcomes: Sequence[Outcome]) -> tuple[list[str], list[str]]:
    """Split texts into two halves that hold the same kinds; which goes where hangs on their names alone."""
    kinds: dict[str, list[str]] = {}
    for one in sorted(outcomes, key=lambda one: hashlib.sha256(one.text.encode()).digest()):
        kinds.setdefault(one.kind, []).append(one.text)
    parts: tuple[list[str], list[str]] = ([], [])
    for some in kinds.values():
        for number, text in enumerate(some):
            # A kind with an odd number of texts gives the one left over to the smaller half.
            last = number == len(some) - 1 and number % 2 == 0
            parts[len(parts[0]) > len(parts[1]) if last else number % 2].append(text)
    return parts


def tune(
    field: Field,
    *,
    statics: Hindsight | None = None,
    vary: Try | None = None,
    tries: int = 0,
    miss: float | None = None,
) -> Choice:
    """Choose a policy among those replayed, and variations of the best of them.

    Args:
        field: The policies, and what each text took under them.
        statics: What every static choice takes on a text.
        vary: Plays variations of policies.
        tries: How many of them at most.
        miss: By how much the replay misses what was measured. Beyond `LARGEST_MISS`, no smaller gain is believed.

    Raises:
        ConfigError: There are too few texts, or no plain decoding to compare with.
    """
    plain = field.plain.label
    tuning, judging = halves(field.plain.outcomes)
    if len(judging) < FEWEST:
        raise ConfigError(
            f"the replay has {len(field.plain.outcomes)} texts; choosing on one half and judging on the other takes at "
            f"least {2 * FEWEST}; record more, `paceline record --limit ...`"
        )
    blocks = {label: one.policy for label, one in field.players.items()}
    seconds = {label: one.seconds for label, one in field.players.items()}
    on = Times(seconds, tuning)
    adaptive = sorted((label for label, one in field.players.items() if not one.fixed), key=on.total)
    varied = vary({label: blocks[label] for label in adaptive[:VARIED]}, tries) if vary and tries else {}
    for label, (block, times) in varied.items():
        blocks[label], seconds[label] = block, times
    best_static = None
    if statics is not None:
        best = statics.best(field.texts, field.draws, on=tuning)
        best_static = best.label
        blocks, seconds = {best.label: best.policy, **blocks}, {best.label: best.seconds, **seconds}
    on, judge = Times(seconds, tuning), Times(seconds, judging)
    fastest = min(blocks, key=on.total)
    default = next((label for label, one in field.players.items() if _is_default(one.policy, label)), None)
    simplest = default or best_static or plain
    gain = judge.speedup(fastest, simplest)
    least = 1.0 + miss if miss is not None and miss > LARGEST_MISS else 1.0
    sure = fastest == simplest or (gain.low is not None and gain.low > 1.0 and gain.value > least)
    label, why = (fastest, FASTER) if sure else (simplest, NOISE)
    speedup = judge.speedup(label, plain)
    if plain in {fastest, label} or speedup.value <= 1.0:
        others = [one for one in blocks if one != plain]
        label, why = plain, PLAIN
        speedup = judge.speedup(min(others, key=on.total, default=plain), plain)
    return Choice(
        label=label,
        policy=blocks[label],
        why=why,
        fastest=fastest,
        simplest=simplest,
        gain=gain,
        speedup=speedup,
        best_static=best_static,
        over_static=judge.speedup(label, best_static) if best_static not in {None, label} else None,
        tuning=len(tuning),
        judging=len(judging),
        policies=len(field.players),
        variations=len(varied),
        miss=miss,
    )


def _is_default(policy: Mapping[str, Any], label: str) -> bool:
    return policy.get("name") == DEFAULT and label == DEFAULT
