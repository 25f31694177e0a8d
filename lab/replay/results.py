"""What a replay found: one outcome for each text under each policy, as numbers that fit memory whatever the length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Order = Literal["recorded", "shuffled", "by-kind", "switching"]
"""How texts follow one another: as recorded; shuffled; one kind after the other; texts spliced from two kinds each."""

Start = Literal["warm", "cold"]
"""Whether a policy goes on with what earlier texts taught it, or is built anew for each text."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One text under one policy.

    Attributes:
        text, kind, varies: Of the text.
        tokens, rounds, drafted, accepted: Sums over its rounds; `tokens` are those delivered.
        seconds: Virtual seconds of all rounds; in parts: draft_s, verify_s, score_s, and the rest is the loop's own.
        gammas: Rounds by planned gamma.
        drafts: Rounds by the draft that was planned; "" for plain rounds.
        reached: By position in the proposal, rounds in which that position was verified and not censored.
        agreed: Of those, rounds in which it was accepted.
    """

    text: str
    kind: str
    varies: bool
    tokens: int
    rounds: int
    drafted: int
    accepted: int
    seconds: float
    draft_s: float
    verify_s: float
    score_s: float
    gammas: Mapping[int, int]
    drafts: Mapping[str, int]
    reached: Sequence[int]
    agreed: Sequence[int]


@dataclass(frozen=True, slots=True)
class Pass:
    """One policy over all texts in one order.

    Attributes:
        label: What tables call it: "survival", "static-3".
        policy: Its block, as JSON-able values.
        order, start, seed: See `Order`, `Start`; the seed of the policy and of the order.
        outcomes: In the order the texts were decoded.
        draw: Which draw of the agreement it was, from 0; None is the one recorded.
    """

    label: str
    policy: Mapping[str, Any]
    order: Order
    start: Start
    seed: int
    outcomes: Sequence[Outcome]
    draw: int | None = None


@dataclass(frozen=True, slots=True)
class Replay:
    """All passes over one recording.

    Attributes:
        recording: Path, sha256 and header of it, JSON-able.
        passes: One for each policy, order, start and seed.
        left_out: Policies that could not be tried, by label, with the reason.
        complete: Whether every pass that was asked for is there.
    """

    recording: Mapping[str, Any]
    passes: Sequence[Pass]
    left_out: Mapping[str, str]
    complete: bool = True
