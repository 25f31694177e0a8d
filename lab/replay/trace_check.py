"""Serving traces: the policy of a trace, shown again what it was shown, must decide again what it decided.

Times, lags, match lengths, signals and outcomes are those recorded, and the live cost model learns from the same
rounds, so that every decision is reproduced exactly: if one is not, the trace was not written by this policy, with
these options, this seed and this version of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from paceline.core.config.run import RunConfig
from paceline.core.costs import LiveCosts
from paceline.core.errors import ContractError, TraceError
from paceline.core.files import input_lines, open_input
from paceline.core.guards.policy import PolicyGuard, requires_of
from paceline.core.json_text import parse_json
from paceline.core.loop import TokenView
from paceline.core.plugins.catalogue import build_policy
from paceline.core.records import Capabilities, RoundStart
from paceline.core.round_json import round_from_json
from paceline.core.trace import MAX_LINE_BYTES, SERVING, trace_lines
from paceline.lab.replay.choices import build
from paceline.lab.replay.tables import UnkeptPrompt

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from paceline.core.config.blocks import PolicyConfig
    from paceline.core.plugins.catalogue import Catalogue
    from paceline.core.protocols import Draft, Policy
    from paceline.core.records import Plan, Round, Signal

SHOWN = 8
"""Rounds decided otherwise that are told one by one."""


@dataclass(frozen=True, slots=True)
class Otherwise:
    """One round that was decided otherwise: what the trace says, and what the policy decided now."""

    request: int
    round: int
    recorded: str
    now: str


@dataclass(slots=True)
class Checked:
    """Result of driving a trace again.

    Attributes:
        policy: Its block, as JSON-able values.
        requests, rounds: How many were driven again.
        differing: How many rounds were decided otherwise; the first ones are in `otherwise`.
    """

    policy: Mapping[str, Any]
    requests: int = 0
    rounds: int = 0
    differing: int = 0
    otherwise: list[Otherwise] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Delivers:
    """A draft, as far as the guard asks: the signals it delivers."""

    signals: frozenset[Signal]


@dataclass(slots=True)
class _Request:
    """One request of the trace under way again."""

    policy: Policy
    guard: PolicyGuard
    info: Mapping[str, Any]
    capabilities: Capabilities
    prompt: UnkeptPrompt
    output: list[int] = field(default_factory=list)


def is_serving(path: Path) -> bool:
    """Tell whether a file is a serving trace, by its first line; what is neither that nor a recording is neither."""
    try:
        with open_input(path, TraceError) as file:
            first = parse_json(next(input_lines(file, path, TraceError, most=MAX_LINE_BYTES))[1])
    except (TraceError, ValueError, StopIteration):
        return False
    return isinstance(first, dict) and first.get("kind") == "trace" and first.get("form", SERVING) == SERVING


def check(path: Path, catalogue: Catalogue, *, instead: PolicyConfig | None = None) -> Checked:
    """Drive the policy of a serving trace again over its rounds, in the order in which they were written.

    Args:
        path: The trace.
        catalogue: Where its policy is found.
        instead: Another policy than the one that the trace names, to see where it would decide otherwise first. After
            that it is shown what the recorded decisions led to.

    Raises:
        TraceError: The file is no serving trace, or damaged, or lacks what the policy was shown.
        ConfigError: The policy is not installed.
    """
    lines = trace_lines(path)
    run = next(lines)[1].get("run", {})
    config, seed, scope = _run(path, run, catalogue)
    policy = instead or config
    drive = _Drive(
        Checked(policy.model_dump(mode="json")), lambda: build_policy(policy, seed), shared=scope != "request"
    )
    for number, line in lines:
        try:
            if line["kind"] == "request":
                drive.begin(line)
            elif line["kind"] == "round":
                drive.round(line["request"], round_from_json(line))
            elif line["kind"] == "end":
                drive.end(line["request"])
        except TraceError as error:
            raise TraceError(f"{path}:{number}: {error}") from None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TraceError(f"{path}:{number}: this line is damaged: {error!r}") from error
    return drive.checked


@dataclass(slots=True)
class _Drive:
    """A trace on its way through a policy. What is held does not grow with the rounds that have ended."""

    checked: Checked
    fresh: Callable[[], Policy]
    shared: bool
    policy: Policy | None = None
    costs: LiveCosts = field(default_factory=LiveCosts)
    requests: dict[int, _Request] = field(default_factory=dict)

    def begin(self, line: Mapping[str, Any]) -> None:
        """Start a request."""
        if "drafts" not in line or "capabilities" not in line:
            raise TraceError(
                "the request does not say what the policy was shown; it was written by an older paceline: trace anew"
            )
        if self.policy is None or not self.shared:
            self.policy = self.fresh()
        drafts = {name: _Delivers(frozenset(info["signals"])) for name, info in line["drafts"].items()}
        # The guard asks drafts for their signals alone.
        guard = PolicyGuard(self.policy, cast("Mapping[str, Draft]", drafts), fallback=False)
        able = dict(line["capabilities"])
        able["gammas"] = None if able["gammas"] is None else tuple(able["gammas"])
        able["signals"] = frozenset(able["signals"])
        name, length = f"request {line['request']}", line["prompt_tokens"]
        self.requests[line["request"]] = _Request(
            self.policy, guard, line, Capabilities(**able), UnkeptPrompt(name, length)
        )
        self.checked.requests += 1

    def end(self, number: int) -> None:
        """Forget a request."""
        del self.requests[number]

    def round(self, number: int, done: Round) -> None:
        """Let the policy decide a round again, and show it what came of it."""
        request = self.requests[number]
        start = RoundStart(
            done.index,
            done.position,
            done.context,
            request.info["max_new_tokens"] - done.position - 1 if request.info["drafts"] else 0,
            done.drafts,
            self.costs,
            request.capabilities,
            TokenView(request.prompt, request.output),
            1,
            request.info.get("perplexity") if requires_of(request.policy).perplexity else None,
        )
        try:
            plan = request.guard.plan(start)
            drafted = self._keeps(request, done) if plan == done.plan else None
        except ContractError as error:
            if isinstance(error.__cause__, TraceError):
                raise error.__cause__ from None
            raise
        self.checked.rounds += 1
        if plan != done.plan or drafted != done.drafted:
            self.checked.differing += 1
            if len(self.checked.otherwise) < SHOWN:
                recorded, now = _described(done.plan, done.drafted), _described(plan, drafted)
                self.checked.otherwise.append(Otherwise(number, done.index, recorded, now))
        request.output.extend(done.tokens)
        self.costs.observe(done)
        request.guard.observe(done)

    @staticmethod
    def _keeps(request: _Request, done: Round) -> int:
        """Return how many of the drafted tokens the policy asks for, shown their signals one by one."""
        control = request.guard.control(done.plan)
        if control is None:
            return done.drafted
        for place, signals in enumerate(done.signals, start=1):
            if not control.goes_on(signals):
                request.guard.settle()
                return place
        return done.drafted


def _run(path: Path, run: Mapping[str, Any], catalogue: Catalogue) -> tuple[PolicyConfig, int, str]:
    """Return the policy, the seed and the scope that a trace was written under."""
    config = run.get("config", run)
    if not isinstance(config, dict) or not isinstance(config.get("policy"), dict):
        raise TraceError(
            f"{path}:1: the trace does not say which policy it was; trace with `generate --trace`"
        )
    if config.get("state") is not None:
        raise TraceError(
            f"{path}:1: the policy began with what a state file held, which the trace does not; leave out `state`"
        )
    defaults = RunConfig.model_fields
    seed = (config.get("generation") or {}).get("seed", 0)
    return build(config["policy"], catalogue), seed, config.get("scope", defaults["scope"].default)


def _described(plan: Plan, drafted: int | None) -> str:
    about = [f"gamma {plan.gamma}"]
    about += [f"draft {plan.draft}"] if plan.draft is not None else []
    about += [f"stop {plan.stop}"] if plan.stop is not None else []
    about += [f"score {', '.join(sorted(plan.score))}"] if plan.score else []
    about += [f"reason {plan.reason}"] if plan.reason is not None else []
    about += ["without signals"] if not plan.use_signals else []
    about += [f"{drafted} drafted"] if drafted is not None else []
    return ", ".join(about)
