"""Tries what can be tried in seconds: a backend on its smallest model, a policy on made-up drafts."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from paceline.core.clock import CostTableClock
from paceline.core.costs import CostTable
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.plugins.loading import describe
from paceline.core.records import Plan, Requirements, Round, RoundStart, Signal, TokenSignals

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from paceline.core.config.blocks import BackendConfig, PolicyConfig
    from paceline.core.plugins.catalogue import Catalogue

TOKENS: Final = 4
"""Tokens that a backend must generate."""

TOY: Final = "toy"
"""The backend whose target and drafts stand in for others."""

LENGTH: Final = 200
"""Tokens of each text in a policy's trial."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of building and running a backend's smallest model.

    Attributes:
        seconds: From the block to the last token; None where nothing was tried.
        problem: Why there is no text; None where there is one, or nothing was tried.
    """

    seconds: float | None = None
    problem: str | None = None


class TwoTokens:
    """Drafts two tokens a round."""

    needs: frozenset[Signal] = frozenset()
    requires = Requirements()

    def plan(self, start: RoundStart) -> Plan:
        """Choose a gamma that the engine runs, near two."""
        return Plan(start.gammas(2)[-1])

    def keep(self, signals: TokenSignals) -> bool:
        """Never stop early."""
        del signals
        return True

    def observe(self, done: Round) -> None:
        """Learn nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take nothing over."""


def try_backend(config: type[BackendConfig], catalogue: Catalogue) -> Trial:
    """Build a backend's smallest model in every role that it plays, and let it generate four tokens.

    A backend that only drafts runs ahead of a toy target.
    """
    with tempfile.TemporaryDirectory(prefix="paceline-") as folder:
        began = time.perf_counter()
        try:
            block = config.smallest(Path(folder))
            if block is None:
                return Trial()
            targets = block if "target" in block.roles else catalogue.backend(TOY).config.model_validate({})
            target = targets.build_target()
            drafts = {"draft": block.build_draft(target)} if "draft" in block.roles else {}
            done = SpeculativeDecoder(target, drafts, TwoTokens()).generate(
                [1, 2, 1, 2], max_new_tokens=TOKENS
            )
        except Exception as error:  # noqa: BLE001 - the backend may be anybody's
            return Trial(problem=describe(error))
        if len(done.tokens) != TOKENS and done.ended != "eos":
            return Trial(problem=f"it generated {len(done.tokens)} tokens instead of {TOKENS}")
        return Trial(time.perf_counter() - began)


def planned_drafts(policy: PolicyConfig, names: tuple[str, ...], catalogue: Catalogue) -> frozenset[str]:
    """Return the drafts that a policy plans at all: each has a text of its own on which it is the best by far.

    Time is virtual. The policy is tried anew with each text, and with what it has learnt from the texts before: some
    learn from all texts, some unlearn slowly.

    Raises:
        PacelineError: The policy fails, or the toy backend, which the trial is made with, is not there.
    """
    toy = catalogue.backend(TOY).config
    target = toy.model_validate({}).build_target()
    costs = CostTable({1: 1.0, 32: 1.2}, dict.fromkeys(names, 0.05))
    kept, planned = policy.build(0), set[str | None]()
    for best in names:
        drafts = {
            name: toy.model_validate({"agreement": 0.95 if name == best else 0.05}).build_draft(target)
            for name in names
        }
        for learns in (kept, policy.build(0)):
            decoder = SpeculativeDecoder(target, drafts, learns, clock=CostTableClock(costs))
            rounds = decoder.rounds([1, 2, 3], max_new_tokens=LENGTH)
            planned |= {done.plan.draft for done in rounds}
    return frozenset(name for name in planned if name is not None)
