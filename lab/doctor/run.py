"""Whether a run could start: every block asked, the policy held against the engine, memory added up."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from paceline.core.errors import CapabilityError, PacelineError
from paceline.core.guard import check_fit
from paceline.core.plugins.loading import describe
from paceline.core.readiness import Readiness
from paceline.lab.doctor.memory import free_memory, gib
from paceline.lab.doctor.trial import TOY, Trial, planned_drafts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from paceline.core.config.run import RunConfig
    from paceline.core.plugins.catalogue import Catalogue


@dataclass(slots=True)
class Findings:
    """What was found out about a run.

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
    found = Findings()
    target = _asked(found, "target", partial(run.target.check_target, run))
    drafts = {
        name: _asked(found, f"drafts.{name}", partial(draft.check_draft, run, target))
        for name, draft in run.drafts.items()
    }
    for where, part in (
        ("target", run.target),
        *((f"drafts.{name}", draft) for name, draft in run.drafts.items()),
    ):
        trial = trials.get(part.backend)
        if trial is not None and trial.problem is not None:
            found.problems.append(f"{where}: {part.backend} fails on its smallest model: {trial.problem}")
    _add_memory(found, (target, *drafts.values()))
    _check_policy(found, run, catalogue, target, drafts)
    return found


def _asked(found: Findings, where: str, ask: Callable[[], Readiness]) -> Readiness:
    """Return what a block says, and note it; a block that fails is a problem."""
    try:
        said = ask()
    except PacelineError as error:
        said = Readiness((str(error),))
    except Exception as error:  # noqa: BLE001 - the backend may be anybody's
        said = Readiness((f"its check failed: {describe(error)}",))
    found.problems += [f"{where}: {problem}" for problem in said.problems]
    found.remarks += [f"{where}: {remark}" for remark in said.remarks]
    return said


def _add_memory(found: Findings, parts: tuple[Readiness, ...]) -> None:
    needed: dict[str, int] = {}
    for part in parts:
        for device, count in part.memory.items():
            needed[device] = needed.get(device, 0) + count
    for device, count in needed.items():
        there = free_memory(device)
        found.memory[device] = {"needed": count, "there": there}
        if there is not None and count > there:
            found.problems.append(
                f"memory: the models need at least {gib(count)} on {device}, and {gib(there)} are there; use smaller "
                "models, a shorter `dtype`, or another device"
            )


def _check_policy(
    found: Findings, run: RunConfig, catalogue: Catalogue, target: Readiness, drafts: Mapping[str, Any]
) -> None:
    """Hold the policy against what target and drafts can do, and see which drafts it plans at all."""
    name = run.policy.name
    try:
        check_fit(run.policy.build(run.generation.seed), target.capabilities, drafts)
        able = TOY in catalogue.backends
        planned = planned_drafts(run.policy, tuple(drafts), catalogue) if able else frozenset(drafts)
    except CapabilityError as error:
        found.problems.append(str(error))
        return
    except Exception as error:  # noqa: BLE001 - the policy may be anybody's
        found.problems.append(f"policy: {name} fails: {describe(error)}")
        return
    if not run.generation.sampling().plain and not target.capabilities.sampling:
        found.problems.append("generation: the target only decodes greedily; use `temperature: 0.0`")
    for draft in drafts:
        if draft not in planned:
            found.unused[draft] = _why_unused(name, planned)


def _why_unused(policy: str, planned: frozenset[str]) -> str:
    if not planned:
        return f"the policy {policy} drafts nothing with these options"
    others = ", ".join(sorted(planned))
    return (
        f"the policy {policy} plans {others} only: a policy that does not choose drafts takes the first one, or the "
        "one that its option `draft` names; put it first, name it, or use a policy that chooses, such as auto or hedge"
    )
