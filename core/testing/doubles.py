"""Test doubles: policies that follow a script, plan by chance or break the contract, and costs that are given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from paceline.core.records import Plan, Requirements, StopRule

if TYPE_CHECKING:
    from paceline.core.records import Round, RoundStart, Signal, TokenSignals

Breach = Literal[
    "over-budget",
    "negative-gamma",
    "nan-gamma",
    "text-gamma",
    "unknown-draft",
    "unknown-score",
    "too-many-nodes",
    "fewer-nodes-than-gamma",
    "no-width",
    "no-plan",
    "raise-in-plan",
    "raise-in-keep-drafting",
    "raise-in-observe",
]
TREES = 0.5
"""Share of the rounds that draft in which a `ChaoticPolicy` wants a tree, where the engine verifies any."""

BREACHES: tuple[Breach, ...] = get_args(Breach)
"""Every way in which a `LawlessPolicy` can break the contract."""


class _Unlearning:
    """The part of a policy that these share: nothing is learnt and nothing kept."""

    needs: frozenset[Signal] = frozenset()
    requires = Requirements()

    def keep_drafting(self, signals: TokenSignals) -> bool:
        """Never stop early."""
        return True

    def observe(self, done: Round) -> None:
        """Learn nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Return an empty state."""
        return {"version": 1}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over nothing."""
        if state.get("version") != 1:
            raise ValueError(f"version 1 was expected, found {state.get('version')!r}")


class ScriptedPolicy(_Unlearning):
    """Follows a list of plans or gammas, again from its start when it is used up, clipped to what the round leaves.

    `starts` and `rounds` keep everything the policy was shown, for assertions.
    """

    def __init__(self, plans: Sequence[Plan | int]) -> None:
        if not plans:
            raise ValueError("a script needs at least one plan")
        self._plans = [plan if isinstance(plan, Plan) else Plan(plan) for plan in plans]
        self.starts: list[RoundStart] = []
        self.rounds: list[Round] = []

    def plan(self, start: RoundStart) -> Plan:
        """Return the next plan of the script."""
        plan = self._plans[len(self.starts) % len(self._plans)]
        self.starts.append(start)
        if plan.nodes:
            return start.fit(plan)
        return replace(plan, gamma=min(plan.gamma, start.budget))

    def observe(self, done: Round) -> None:
        """Write the round down."""
        self.rounds.append(done)


class ChaoticPolicy(_Unlearning):
    """Plans any chain or tree, with any draft, stops at any moment, has any draft score: lawful, and no help.

    Args:
        seed: Of all its choices.
        drafts: The drafts it chooses from; None: all that a round has.
        signals: The signals the drafts can compute; when there are some, it stops early through `keep_drafting` and
            through random stop rules.
        max_gamma: The largest gamma it plans.
    """

    def __init__(
        self,
        seed: int,
        drafts: Sequence[str] | None = None,
        *,
        signals: frozenset[Signal] = frozenset(),
        max_gamma: int = 8,
    ) -> None:
        self._random = Random(seed)
        self._drafts = drafts
        self._max_gamma = max_gamma
        self.needs = signals

    def plan(self, start: RoundStart) -> Plan:
        """Choose anything that is allowed."""
        drafts = [name for name in start.drafts if self._drafts is None or name in self._drafts]
        gamma = self._random.randint(0, min(self._max_gamma, start.budget)) if drafts else 0
        scored = frozenset(name for name in drafts if self._random.random() < 0.3)
        draft = self._random.choice(drafts) if drafts else None
        tree = (0, 1)
        if 0 < gamma <= start.capabilities.nodes and self._random.random() < TREES:
            nodes = self._random.randint(gamma, min(2 * self._max_gamma, start.capabilities.nodes))
            tree = (nodes, self._random.randint(1, 3)) if nodes >= gamma else tree
        return Plan(gamma, draft, self._rule() if gamma else None, None, scored, True, *tree)

    def keep_drafting(self, signals: TokenSignals) -> bool:
        """Stop after one token in three."""
        return self._random.random() < 2 / 3

    def _rule(self) -> StopRule | None:
        comparable = sorted(self.needs - {"token"})
        if not comparable or self._random.random() < 0.5:
            return None
        signal = self._random.choice(comparable)
        threshold = self._random.random()
        if self._random.random() < 0.5:
            return StopRule(signal, below=threshold)
        return StopRule(signal, above=threshold)


class LawlessPolicy(_Unlearning):
    """Breaks the contract in one chosen way, after some lawful rounds of gamma <= 2.

    Args:
        breach: What it does wrong, one of `BREACHES`.
        after: How many lawful rounds come first.
        needs: Signals it asks for; "raise-in-keep-drafting" is only reached when there are some.
    """

    def __init__(self, breach: Breach, *, after: int = 0, needs: frozenset[Signal] = frozenset()) -> None:
        if breach not in BREACHES:
            raise ValueError(f"{breach!r} is no breach; they are: {', '.join(BREACHES)}")
        self._breach = breach
        self._lawful = after
        self._rounds = 0
        self.needs = needs

    def plan(self, start: RoundStart) -> Plan:
        """Return a plan that is lawful, or not."""
        if self._rounds < self._lawful:
            return Plan(min(2, start.budget))
        match self._breach:
            case "raise-in-plan":
                raise RuntimeError("lawless in plan")
            case "no-plan":
                return cast("Plan", None)
            case "unknown-draft" | "unknown-score":
                nobody = "a draft nobody has"
                gamma = min(1, start.budget)
                return (
                    Plan(gamma, nobody)
                    if self._breach == "unknown-draft"
                    else Plan(0, score=frozenset({nobody}))
                )
            case "over-budget" | "negative-gamma" | "nan-gamma" | "text-gamma":
                wrong: dict[str, Any] = {
                    "over-budget": start.budget + 1,
                    "negative-gamma": -1,
                    "nan-gamma": float("nan"),
                    "text-gamma": "4",
                }
                return Plan(wrong[self._breach])
            case "too-many-nodes" | "fewer-nodes-than-gamma" | "no-width":
                gamma = min(2, start.budget)
                trees = {
                    "too-many-nodes": (start.capabilities.nodes + 2, 2),
                    "fewer-nodes-than-gamma": (gamma - 1, 2),
                    "no-width": (gamma, 0),
                }
                nodes, width = trees[self._breach]
                return Plan(gamma, nodes=nodes, width=width)
            case _:
                return Plan(min(2, start.budget))

    def keep_drafting(self, signals: TokenSignals) -> bool:
        """Stop never, or raise."""
        if self._breach == "raise-in-keep-drafting" and self._rounds >= self._lawful:
            raise RuntimeError("lawless in keep_drafting")
        return True

    def observe(self, done: Round) -> None:
        """Count rounds, or raise."""
        self._rounds += 1
        if self._breach == "raise-in-observe" and self._rounds > self._lawful:
            raise RuntimeError("lawless in observe")


class FixedCosts:
    """A cost model that never changes.

    Args:
        draft_s: Seconds of one draft token, for every draft or by name.
        verify: Seconds of verification: a number, or a function of block length and context.
        catch_up_s: Seconds for each token a draft lags.
    """

    def __init__(
        self,
        draft_s: float | Mapping[str, float] = 1.0,
        verify: float | Callable[[int, int], float] = 10.0,
        *,
        catch_up_s: float = 0.0,
    ) -> None:
        self._draft_s = draft_s
        self._verify = verify
        self._catch_up_s = catch_up_s

    def draft_s(self, draft: str, gamma: int, lag: int = 0) -> float:
        """Return the seconds to draft `gamma` tokens after catching up on `lag`."""
        token_s = self._draft_s[draft] if isinstance(self._draft_s, Mapping) else self._draft_s
        return gamma * token_s + lag * self._catch_up_s

    def verify_s(self, length: int, context: int) -> float:
        """Return the seconds to verify a block of `length` tokens."""
        return self._verify(length, context) if callable(self._verify) else self._verify
