"""A gate before another policy: speculation is on while it delivers more tokens per second than plain decoding.

The gate looks at nothing but tokens delivered per second of wall time, summed over windows of rounds. It is the
arbiter of the Atlas engine's MtpGate, whose authors report that a gate on predicted times of the parts of a round
switched off a speculation that was 18 % faster. From there: windows of 16 rounds; estimates and deviations that follow
them by exponentially weighted means (see `Speed`); a switch only where the other way is ahead by

    margin = max(5 %, half the sum of both deviations)

in two windows in a row; probes of speculation while it is off, which replace the estimate; a rare look at plain
decoding while it is on; estimates that count as stale once the context has doubled.

Ours: the interval between probes doubles while they fail, up to eight times the first one, and a success sets it back,
as does a machine that becomes faster or slower by a quarter;
a window that speaks against speculation has plain decoding measured afresh before the gate goes off, so that a machine
that became slower is not taken for a draft that became worse; rounds of gamma 0 that the inner policy plans measure
plain decoding for nothing; the first round after a change is not judged, since it reads what the draft missed (and an
engine may still be at what was decided before); rounds that were ended are not judged, since the tokens past the cut
are missing. Where speculation is ahead of what the cost model expects of plain decoding by more than a quarter,
measuring plain decoding can wait; that is all the cost model is asked.

An inner policy that plans gamma 0 by itself makes both ways alike, so that the margin keeps the gate where it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from paceline.core.config.blocks import PolicyConfig
from paceline.core.config.resolve import AnyPolicy
from paceline.core.plugins.catalogue import build_policy
from paceline.core.records import Plan
from paceline.core.state.declared import Count, PolicyState
from paceline.policies.composition import WrapperPolicy, tag_plan, untag_round
from paceline.policies.throughput import Speed, Window

if TYPE_CHECKING:
    from paceline.core.protocols import Policy
    from paceline.core.records import Round, RoundStart

IN_A_ROW = 2  # windows that must agree before the gate moves
MOST_DOUBLINGS = 3  # of the interval between probes
PLAUSIBLE = 1.25
PATIENT = 4  # as many times rarer are looks at plain decoding while it is not plausibly the faster one
CHANGED = 0.25  # of the speed of plain decoding, from one window to the next
SHORT = 1024  # below this many tokens of context a round hardly feels how many there are

Phase = Literal["on", "baseline", "off", "probe"]
PROBE = "gate-probe"


class GateConfig(PolicyConfig):
    """Switch another policy off while plain decoding delivers more tokens per second."""

    name: Literal["gate"] = "gate"
    policy: AnyPolicy = Field(default="online", description="The policy that plans while the gate is on.")  # type: ignore[assignment]
    window: int = Field(default=16, ge=1, description="Rounds of a window.")
    probe_window: int = Field(
        default=8,
        ge=1,
        description="Rounds of a window of the way that is not in use: a probe, or plain ones.",
    )
    probe_every: int = Field(
        default=256,
        ge=1,
        description="Tokens between two probes while off; doubles up to 8 times that while they fail.",
    )
    refresh_every: int = Field(
        default=4096, ge=1, description="Tokens between two looks at plain decoding while on."
    )
    margin: float = Field(
        default=0.05, ge=0, description="Least share by which the other way must be ahead to be taken."
    )

    def build(self, seed: int = 0) -> GatePolicy:
        """Return a fresh gate around a fresh policy."""
        return GatePolicy(self, build_policy(self.policy, seed))


@dataclass(slots=True)
class GateState(PolicyState):
    """Measurements, and the standing of the gate.

    Attributes:
        settling: Whether the next round is not judged.
        idle: Rounds of gamma 0 that the inner policy planned while on.
        waited: Tokens since the way that is not in use was measured.
        agreeing: Windows in a row that speak for a change.
        failures: Probes in a row that failed, as far as they matter.
    """

    phase: Phase = "on"
    settling: bool = True
    window: Window = field(default_factory=Window)
    idle: Window = field(default_factory=Window)
    drafting: Speed = field(default_factory=Speed)
    plain: Speed = field(default_factory=Speed)
    waited: Count = 0
    agreeing: Count = 0
    failures: Annotated[int, Field(ge=0, le=MOST_DOUBLINGS)] = 0


class GatePolicy(WrapperPolicy[GateState]):
    """Plans as the inner policy does, or gamma 0.

    Args:
        config: The gate's options.
        policy: The inner policy, held by this gate alone.
    """

    version = 2

    def __init__(self, config: GateConfig, policy: Policy) -> None:
        super().__init__("gate", GateState(), policy, zero_gamma=True, latency="fused")
        self._options = config
        self._handed_on = False  # whether the inner policy planned this round
        self._guessed = (
            0.0  # tokens per second of plain decoding by the cost model, to know when to measure them
        )

    @property
    def on(self) -> bool:
        """True while speculation is on, but for measurements."""
        return self.state.phase in {"on", "baseline"}

    def plan(self, start: RoundStart) -> Plan:
        """Let the inner policy plan, or plan gamma 0; begin a measurement that is due."""
        options = self._options
        self._guessed = 1.0 / max(start.costs.verify_s(1, start.context), 1e-12)
        patience = options.refresh_every * (1 if self._plausible() else PATIENT)
        if self.state.phase == "on" and self._due(self.state.plain, patience, start.context):
            self._enter("baseline")
        elif self.state.phase == "off":
            interval = options.probe_every * 2**self.state.failures
            if self._due(self.state.drafting, interval, start.context):
                self._enter("probe")
        self._handed_on = self.state.phase in {"on", "probe"}
        if not self._handed_on:
            return Plan(0, reason=f"gate-{self.state.phase}")
        plan = self.inner.plan(start)
        return tag_plan(plan, PROBE) if self.state.phase == "probe" else plan

    def observe(self, done: Round) -> None:
        """Show the inner policy a round that it planned, and count what was delivered in which time."""
        if self._handed_on:
            self.inner.observe(untag_round(done, (PROBE,))[1])
        state = self.state
        state.waited += done.emitted
        if done.ended is not None:
            return
        if state.phase == "on" and done.plan.gamma == 0:
            self._count_idle(done)
        if state.settling:
            state.settling = False
            return
        state.window.count(done)
        size = self._options.window if state.phase in {"on", "off"} else self._options.probe_window
        if state.window.rounds >= size:
            window, state.window = state.window, Window()
            self._close_window(window, done.context)

    def _due(self, other: Speed, interval: int, context: int) -> bool:
        """Tell whether the way that is not in use must be measured: after so many tokens, sooner where it is stale."""
        here, there = max(context, SHORT), max(other.context, SHORT)
        if here >= 2 * there or there >= 2 * here:
            interval = min(interval, self._options.probe_every)
        return self.state.waited >= interval

    def _enter(self, phase: Phase) -> None:
        self.state.phase = phase
        self.state.settling = True
        self.state.window = Window()

    def _close_window(self, window: Window, context: int) -> None:
        """Draw the conclusions from a full window."""
        if self.state.phase == "on":
            self.state.drafting.follow(window, context)
            self._compare_while_on()
        elif self.state.phase == "baseline":
            self.state.plain.replace(window, context)
            self.state.waited = 0
            self._enter("on")
            self._compare_while_on()
        elif self.state.phase == "off":
            before = self.state.plain.rate
            self.state.plain.follow(window, context)
            if before > 0.0 and abs(self.state.plain.latest - before) > CHANGED * before:
                # The machine is not what it was when speculation was judged.
                self.state.failures, self.state.waited = 0, max(self.state.waited, self._options.probe_every)
        else:
            self.state.drafting.replace(window, context)
            self._compare_after_probe()

    def _compare_while_on(self) -> None:
        """Go off when plain decoding is ahead for the second time; measure it afresh when it is for the first."""
        if self.state.plain.beats(self.state.drafting, self._options.margin):
            self.state.agreeing += 1
        else:
            self.state.agreeing = 0
        if self.state.agreeing >= IN_A_ROW:
            self._change_to("off")
        elif self.state.drafting.rate and (
            (not self.state.plain.rate and self._plausible())
            or (self.state.agreeing and self.state.waited >= self._options.probe_every)
        ):
            self._enter("baseline")

    def _plausible(self) -> bool:
        """Tell whether plain decoding might be the faster one; the cost model may be wrong by a quarter."""
        return self._guessed * PLAUSIBLE > self.state.drafting.rate

    def _compare_after_probe(self) -> None:
        """Go on when speculation is ahead for the second time; after a failure wait longer."""
        if not self.state.drafting.beats(self.state.plain, self._options.margin):
            self.state.failures = min(self.state.failures + 1, MOST_DOUBLINGS)
            self._change_to("off")
            return
        self.state.agreeing += 1
        if self.state.agreeing >= IN_A_ROW:
            self.state.failures = 0
            self._change_to("on")

    def _change_to(self, phase: Phase) -> None:
        self._enter(phase)
        self.state.agreeing = self.state.waited = 0

    def _count_idle(self, done: Round) -> None:
        """Take the inner policy's own rounds without drafting for a look at plain decoding."""
        self.state.idle.count(done)
        if self.state.idle.rounds >= self._options.probe_window:
            self.state.plain.follow(self.state.idle, done.context)
            self.state.idle = Window()
            self.state.waited = 0
