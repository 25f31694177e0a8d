"""Checks whether a run could start: every block asked, a small trial of each part, memory added up."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from paceline.core.clock import CostTableClock
from paceline.core.config.blocks import Readiness
from paceline.core.costs import CostTable
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.environment import free_memory, gib
from paceline.core.errors import CapabilityError, PacelineError
from paceline.core.guards.policy import check_fit
from paceline.core.plugins.loading import error_line
from paceline.core.records import Plan, Requirements, Round, RoundStart, Signal, TokenSignals

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from paceline.core.config.blocks import BackendConfig, PolicyConfig
    from paceline.core.config.run import RunConfig
    from paceline.core.plugins.catalogue import Catalogue

TOKENS: Final = 4
"""Tokens that a backend must generate."""

TOY: Final = "toy"
"""The backend whose target and drafts stand in for others."""

LENGTH: Final = 200
"""Tokens of each text in a policy's trial."""


@dataclass(slots=True)
class Findings:
    """Problems and remarks about a run.

    Attributes:
        problems: What would keep it from starting.
        remarks: What a user should know.
        unused: Drafts that no round would use, and why.
        memory: For each device, the bytes needed at least and those that are there (None: nobody tells).
    """

    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    unused: dict[str, str] = field(default_factory=dict)
    memory: dict[str, dict[str, int | None]] = field(default_factory=dict)


def check_run(run: RunConfig, catalogue: Catalogue, trials: Mapping[str, Trial]) -> Findings:
    """Ask every block of a run what can be known before a weight is read.

    Args:
        run: The run.
        catalogue: What is installed.
        trials: What came of trying the backends, by name.
    """
    findings = Findings()
    target = _check_block(findings, "target", partial(run.target.check_target, run))
    drafts = {
        name: _check_block(findings, f"drafts.{name}", partial(draft.check_draft, run, target))
        for name, draft in run.drafts.items()
    }
    for where, part in (
        ("target", run.target),
        *((f"drafts.{name}", draft) for name, draft in run.drafts.items()),
    ):
        trial = trials.get(part.backend)
        if trial is not None and trial.problem is not None:
            findings.problems.append(f"{where}: {part.backend} fails on its smallest model: {trial.problem}")
    _add_memory(findings, (target, *drafts.values()))
    _check_policy(findings, run, catalogue, target, drafts)
    return findings


def _check_block(findings: Findings, where: str, ask: Callable[[], Readiness]) -> Readiness:
    """Return what a block says, and note it; a block that fails is a problem."""
    try:
        readiness = ask()
    except PacelineError as error:
        readiness = Readiness((str(error),))
    except Exception as error:  # noqa: BLE001 - the backend may be anybody's
        readiness = Readiness((f"its check failed: {error_line(error)}",))
    findings.problems += [f"{where}: {problem}" for problem in readiness.problems]
    findings.remarks += [f"{where}: {remark}" for remark in readiness.remarks]
    return readiness


def _add_memory(findings: Findings, parts: tuple[Readiness, ...]) -> None:
    needed: dict[str, int] = {}
    for part in parts:
        for device, count in part.memory.items():
            needed[device] = needed.get(device, 0) + count
    for device, count in needed.items():
        free = free_memory(device)
        findings.memory[device] = {"needed": count, "there": free}
        if free is not None and count > free:
            findings.problems.append(
                f"memory: the models need at least {gib(count)} on {device}, and {gib(free)} are there; use smaller "
                "models, a shorter `dtype`, or another device"
            )


def _check_policy(
    findings: Findings, run: RunConfig, catalogue: Catalogue, target: Readiness, drafts: Mapping[str, Any]
) -> None:
    """Hold the policy against what target and drafts can do, and see which drafts it plans at all."""
    name = run.policy.name
    try:
        check_fit(run.policy.build(run.generation.seed), target.capabilities, drafts)
        able = TOY in catalogue.backends
        planned = planned_drafts(run.policy, tuple(drafts), catalogue) if able else frozenset(drafts)
    except CapabilityError as error:
        findings.problems.append(str(error))
        return
    except Exception as error:  # noqa: BLE001 - the policy may be anybody's
        findings.problems.append(f"policy: {name} fails: {error_line(error)}")
        return
    if not run.generation.sampling().plain and not target.capabilities.sampling:
        findings.problems.append("generation: the target only decodes greedily; use `temperature: 0.0`")
    for draft in drafts:
        if draft not in planned:
            findings.unused[draft] = _why_unused(name, planned)


def _why_unused(policy: str, planned: frozenset[str]) -> str:
    if not planned:
        return f"the policy {policy} drafts nothing with these options"
    others = ", ".join(sorted(planned))
    return (
        f"the policy {policy} plans {others} only: a policy that does not choose drafts takes the first one, or the "
        "one that its option `draft` names; put it first, name it, or use a policy that chooses, such as auto or hedge"
    )


@dataclass(frozen=True, slots=True)
class Trial:
    """The outcome of building and running a backend's smallest model.

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

    def keep_drafting(self, signals: TokenSignals) -> bool:
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
            return Trial(problem=error_line(error))
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
