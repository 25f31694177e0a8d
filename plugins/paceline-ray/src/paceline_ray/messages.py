"""Messages between replicas and the hub.

A replica reports *totals*: everything it has learnt since its process began, what came from others left out. Whoever
says totals may say them twice, late, in any order or not at all: the report of the highest sequence number replaces
all earlier ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from paceline import StateKey

Sums = Mapping[str, float]
"""Additive statistics by name, as `paceline.Mergeable` exports them."""


@dataclass(frozen=True, slots=True)
class Account:
    """Account of one life of one replica, as the hub holds it.

    Attributes:
        subject: What its statistics are about; only those of equal keys are ever added.
        sequence: The number of the latest report that it took in.
        totals: What that report said was learnt.
        share: What the hub still remembers of it, as of `at`.
        counts: What that report counted, such as rounds and gammas.
        at: Seconds of the hub's clock.
    """

    subject: StateKey
    sequence: int = 0
    totals: Sums = field(default_factory=dict)
    share: Sums = field(default_factory=dict)
    counts: Sums = field(default_factory=dict)
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Report:
    """From a replica to the hub.

    Attributes:
        replica: Its name.
        epoch: The life of its process: another one after every restart.
        sequence: 1 for the first report of an epoch, then one more each.
        subject, totals, counts: As in `Account`.
        acknowledged: The account that the hub last told of, for a hub that has lost it; None before the first answer.
        age_s: Seconds since that answer.
    """

    replica: str
    epoch: str
    sequence: int
    subject: StateKey
    totals: Sums
    counts: Sums
    acknowledged: Account | None = None
    age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """From the hub to a replica.

    Attributes:
        sequence: The number of the latest report that is in the replica's account; never below that of the report.
        share: What the hub remembers of the replica.
        pool: What it remembers of all replicas together, this one included.
    """

    sequence: int
    share: Sums
    pool: Sums


def added(sums: Sums, other: Sums, *, weight: float = 1.0) -> dict[str, float]:
    """Return `one` + `weight` times `other`, name by name."""
    return {name: sums.get(name, 0.0) + weight * other.get(name, 0.0) for name in sums.keys() | other.keys()}
