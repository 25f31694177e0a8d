"""Made-up texts whose drafts are as sure of themselves as they have reason to be."""

from __future__ import annotations

import math
from random import Random

from paceline.core.records import TokenSignals

OTHERS = 9
"""Number of other tokens that evenly share what the likeliest one leaves."""


def calibrated(
    count: int, *, accuracy: float = 0.7, evenness: float = 2.0, seed: int = 0
) -> tuple[list[bool], list[TokenSignals]]:
    """Return, for each position, whether the draft is right, and the signals of its token.

    The draft's confidence p is drawn from a Beta distribution, and its token is right with exactly that chance: the
    signals are calibrated, and still leave most of the outcome open. Both go into `play`.

    Args:
        count: Tokens of the text.
        accuracy: The mean of p, and so the share of tokens that are right.
        evenness: The sum of the two parameters of the Beta distribution. Near 0 the draft always knows whether it is
            right; the larger it is, the more alike all positions look and the less the signals say.
        seed: Of everything drawn.
    """
    random = Random(seed)
    bits, signals = [], []
    for position in range(count):
        sure = random.betavariate(accuracy * evenness, (1 - accuracy) * evenness)
        right = random.random() < sure
        bits.append(right)
        signals.append(_of(position, sure, right=right))
    return bits, signals


def _of(position: int, sure: float, *, right: bool) -> TokenSignals:
    other = (1.0 - sure) / OTHERS
    entropy = -sum(n * p * math.log(p) for n, p in ((1, sure), (OTHERS, other)) if p > 0)
    # A confidence below that of the others is left as it is: rare, and a top-1 probability all the same.
    return TokenSignals(position, sure, sure, entropy, max(sure - other, 0.0), 0 if right else 1)
