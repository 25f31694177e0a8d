"""What a report shows, as numbers: everything the page, the pictures and the terminal are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from paceline.lab.intervals import Ratio


@dataclass(frozen=True, slots=True)
class Shares:
    """Seconds a token, by what they went into; `loop` is what remains of the round."""

    draft: float
    verify: float
    score: float
    loop: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.draft + self.verify + self.score + self.loop


@dataclass(frozen=True, slots=True)
class Row:
    """One policy over all texts, in the setting of the ranking.

    Attributes:
        label: What the replay calls it.
        policy: Its block, as JSON-able values.
        fixed: Whether it plans the same gamma in every round.
        speedup: Over plain decoding.
        over_static: Over the best static choice in hindsight; None for that one itself, or without a recording.
        varying: Speed-up on the texts that neither loop nor repeat themselves; None where there are none.
        captured: Share of the time between plain decoding and the oracle that is saved, on all texts; None without an
            oracle. `captured_varying` is that of the texts that vary.
        captured_static: Likewise between the best static choice and the oracle.
        acceptance: Accepted of drafted tokens; None where nothing was drafted.
        per_round: Tokens delivered a round: Spec-Bench's mean accepted tokens.
        gamma: Mean planned gamma.
        shares: Where the time went.
    """

    label: str
    policy: Mapping[str, Any]
    fixed: bool
    speedup: Ratio
    over_static: Ratio | None
    varying: Ratio | None
    captured: Ratio | None
    captured_static: Ratio | None
    captured_varying: Ratio | None
    acceptance: float | None
    per_round: float
    gamma: float
    shares: Shares


@dataclass(frozen=True, slots=True)
class Step:
    """One round in a picture: where it began, what was planned, and what came of it."""

    position: int
    gamma: int
    accepted: int
    emitted: int
    draft: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """One text, round by round, under a policy and under the oracle.

    Attributes:
        text, kind: Of the text.
        why: The rule by which it was chosen, in words that end the sentence "shown because ...".
        policy, oracle: The rounds.
        slower: Seconds under the policy over those of the oracle.
    """

    text: str
    kind: str
    why: str
    policy: Sequence[Step]
    oracle: Sequence[Step]
    slower: float


@dataclass(frozen=True, slots=True)
class Curve:
    """Time lost against the oracle by one policy, summed up text after text.

    Attributes:
        label: The policy.
        tokens: Delivered so far, at the end of each text; begins with 0.
        lost: Seconds lost so far, in plain steps; begins with 0.
    """

    label: str
    tokens: Sequence[int]
    lost: Sequence[float]


@dataclass(frozen=True, slots=True)
class Positions:
    """How often the k-th token of a proposal is accepted once those before it were; counts by position."""

    draft: str
    reached: Sequence[int]
    agreed: Sequence[int]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of text: how many, and by policy the speed-up, its interval, and Spec-Bench's figures.

    Attributes:
        speedups: By label.
        accepted_tokens: Spec-Bench's mean accepted tokens, by label: tokens delivered a round.
        spec_bench: Spec-Bench's speed-up, by label: mean over texts of tokens a second, over that of plain decoding.
        oracle: Speed-up of the oracle; None where it is not known.
        best_static: Speed-up of the static choice that is best on all kinds; None where it is not known.
    """

    kind: str
    texts: int
    tokens: int
    speedups: Mapping[str, Ratio]
    accepted_tokens: Mapping[str, float]
    spec_bench: Mapping[str, float]
    oracle: float | None
    best_static: Ratio | None = None


@dataclass(frozen=True, slots=True)
class Setting:
    """The speed-ups of all policies when texts come in one order to policies that stay or start afresh."""

    order: str
    start: str
    seeds: Sequence[int]
    speedups: Mapping[str, Ratio]
    best_static: str | None


@dataclass(frozen=True, slots=True)
class Check:
    """One policy really run: what replay says against what the clock said; `error` is predicted/measured - 1."""

    policy: str
    texts: int
    predicted: float
    measured: float

    @property
    def error(self) -> float:
        """The relative error of the prediction."""
        return self.predicted / self.measured - 1.0


@dataclass(frozen=True, slots=True)
class Prices:
    """Seconds of the pieces of a round: verification by block length, drafting by draft and gamma, and the rest."""

    verify: Mapping[int, float]
    draft: Mapping[str, Mapping[int, float]]
    catch_up: Mapping[str, Mapping[int, float]]
    context: int
    context_s: float
    overhead_s: float


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything a report shows.

    Attributes:
        rows: Fastest first.
        plain, best: Labels of rows; best is the fastest of all.
        best_static: Label of the best static choice in hindsight, whether it was replayed or not, and
            `static_speedup` its speed-up over plain decoding; None without a recording.
        oracle: Speed-up of the clairvoyant oracle over plain decoding; None without a recording.
        setting: The order and start that the ranking is about.
        texts, varying, tokens: How many texts, how many of them vary, and how many tokens they have.
        checks: Validation, one for each policy that was really run.
        left_out: Policies that could not be tried, with the reason.
        machine: Environment and versions, flattened for a table.
        source: Where the numbers come from: recording, hash, command.
        made_up: Whether the recording comes from a generator.
        sampled: Whether tokens were drawn.
    """

    rows: Sequence[Row]
    plain: str
    best_static: str | None
    best: str
    oracle: float | None
    setting: Setting
    texts: int
    varying: int
    tokens: int
    timelines: Sequence[Timeline] = ()
    timeline_policy: str | None = None
    curves: Sequence[Curve] = ()
    positions: Sequence[Positions] = ()
    kinds: Sequence[Kind] = ()
    settings: Sequence[Setting] = ()
    checks: Sequence[Check] = ()
    prices: Prices | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, str] = field(default_factory=dict)
    source: Mapping[str, str] = field(default_factory=dict)
    made_up: bool = False
    sampled: bool = False
    static_speedup: Ratio | None = None

    def row(self, label: str) -> Row:
        """Return the row of a policy."""
        return next(row for row in self.rows if row.label == label)

    @property
    def worst_check(self) -> Check | None:
        """Return the check that misses by most, if any ran."""
        return max(self.checks, key=lambda check: abs(check.error), default=None)
