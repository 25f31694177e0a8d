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

from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import Field

from paceline.core.config.blocks import PolicyConfig
from paceline.core.config.resolve import AnyPolicy
from paceline.core.guards.policy import keeps, needs_of, state_of, take_over
from paceline.core.plugins.catalogue import build_policy
from paceline.core.records import Plan
from paceline.policies.composition import joint_requirements, mark, marked
from paceline.policies.state import check_count, check_header
from paceline.policies.throughput import Speed, Window, read_speed, read_window

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paceline.core.protocols import Policy
    from paceline.core.records import Requirements, Round, RoundStart, Signal, TokenSignals

VERSION = 1
IN_A_ROW = 2  # windows that must agree before the gate moves
MOST_DOUBLINGS = 3  # of the interval between probes
PLAUSIBLE = 1.25
PATIENT = 4  # as many times rarer are looks at plain decoding while it is not plausibly the faster one
CHANGED = 0.25  # of the speed of plain decoding, from one window to the next
SHORT = 1024  # below this many tokens of context a round hardly feels how many there are

Phase = Literal["on", "baseline", "off", "probe"]
PROBE = "gate-probe"
PHASES: tuple[Phase, ...] = get_args(Phase)


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


class GatePolicy:
    """Plans as the inner policy does, or gamma 0.

    Args:
        config: The gate's options.
        policy: The inner policy, held by this gate alone.
    """

    def __init__(self, config: GateConfig, policy: Policy) -> None:
        self._options = config
        self._policy = policy
        self._phase: Phase = "on"
        self._settling = True  # the next round is not judged
        self._window = Window()
        self._idle = Window()  # rounds of gamma 0 that the inner policy planned while on
        self._drafting, self._plain = Speed(), Speed()
        self._waited = 0  # tokens since the way that is not in use was measured
        self._agreeing = 0  # windows in a row that speak for a change
        self._failures = 0  # probes in a row that failed, as far as they matter
        self._asked = False  # whether the inner policy planned this round
        self._guessed = (
            0.0  # tokens per second of plain decoding by the cost model, to know when to measure them
        )

    @property
    def needs(self) -> frozenset[Signal]:
        """The signals that the inner policy wants."""
        return needs_of(self._policy)

    @property
    def requires(self) -> Requirements:
        """Requirements of the inner policy, rounds without drafting, and the time of a round."""
        return joint_requirements((self._policy,), zero_gamma=True, latency="fused")

    @property
    def on(self) -> bool:
        """Whether speculation is on, but for measurements."""
        return self._phase in {"on", "baseline"}

    def plan(self, start: RoundStart) -> Plan:
        """Let the inner policy plan, or plan gamma 0; begin a measurement that is due."""
        options = self._options
        self._guessed = 1.0 / max(start.costs.verify_s(1, start.context), 1e-12)
        patience = options.refresh_every * (1 if self._plausible() else PATIENT)
        if self._phase == "on" and self._due(self._plain, patience, start.context):
            self._enter("baseline")
        elif self._phase == "off":
            interval = options.probe_every * 2**self._failures
            if self._due(self._drafting, interval, start.context):
                self._enter("probe")
        self._asked = self._phase in {"on", "probe"}
        if not self._asked:
            return Plan(0, reason=f"gate-{self._phase}")
        plan = self._policy.plan(start)
        return mark(plan, PROBE) if self._phase == "probe" else plan

    def keep_drafting(self, signals: TokenSignals) -> bool:
        """Ask the inner policy, which planned this round if anything was drafted."""
        return keeps(self._policy, signals)

    def observe(self, done: Round) -> None:
        """Show the inner policy a round that it planned, and count what was delivered in which time."""
        if self._asked:
            self._policy.observe(marked(done, (PROBE,))[1])
        self._waited += done.emitted
        if done.ended is not None:
            return
        if self._phase == "on" and done.plan.gamma == 0:
            self._count_idle(done)
        if self._settling:
            self._settling = False
            return
        self._window.add(done)
        size = self._options.window if self._phase in {"on", "off"} else self._options.probe_window
        if self._window.rounds >= size:
            window, self._window = self._window, Window()
            self._conclude(window, done.context)

    def state_dict(self) -> dict[str, Any]:
        """Return what was measured, where the gate stands, and the state of the inner policy."""
        return {
            "policy": "gate",
            "version": VERSION,
            "phase": self._phase,
            "settling": self._settling,
            "window": self._window.state(),
            "idle": self._idle.state(),
            "drafting": self._drafting.state(),
            "plain": self._plain.state(),
            "waited": self._waited,
            "agreeing": self._agreeing,
            "failures": self._failures,
            "inner": state_of(self._policy),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over everything.

        Raises:
            ValueError: The state is damaged, or of another policy or version, or the inner policy refuses its part;
                nothing is changed.
        """
        check_header(state, "gate", VERSION)
        phase = next((one for one in PHASES if one == state.get("phase")), None)
        settling, inner = state.get("settling"), state.get("inner")
        if phase is None or not isinstance(settling, bool) or not isinstance(inner, dict):
            raise ValueError("the saved state is damaged: phase, settling or inner is not what a gate writes")
        windows = [read_window(state.get(key), key) for key in ("window", "idle")]
        speeds = [read_speed(state.get(key), key) for key in ("drafting", "plain")]
        counts = [
            int(check_count(state.get(key), key, whole=True)) for key in ("waited", "agreeing", "failures")
        ]
        take_over(self._policy, inner)
        self._phase, self._settling = phase, settling
        self._window, self._idle = windows
        self._drafting, self._plain = speeds
        self._waited, self._agreeing = counts[0], counts[1]
        self._failures = min(counts[2], MOST_DOUBLINGS)

    def _due(self, other: Speed, interval: int, context: int) -> bool:
        """Tell whether the way that is not in use must be measured: after so many tokens, sooner where it is stale."""
        here, there = max(context, SHORT), max(other.context, SHORT)
        if here >= 2 * there or there >= 2 * here:
            interval = min(interval, self._options.probe_every)
        return self._waited >= interval

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        self._settling = True
        self._window = Window()

    def _conclude(self, window: Window, context: int) -> None:
        """Draw the conclusions from a full window."""
        if self._phase == "on":
            self._drafting.follow(window, context)
            self._doubt()
        elif self._phase == "baseline":
            self._plain.replace(window, context)
            self._waited = 0
            self._enter("on")
            self._doubt()
        elif self._phase == "off":
            before = self._plain.rate
            self._plain.follow(window, context)
            if before > 0.0 and abs(self._plain.latest - before) > CHANGED * before:
                # The machine is not what it was when speculation was judged.
                self._failures, self._waited = 0, max(self._waited, self._options.probe_every)
        else:
            self._drafting.replace(window, context)
            self._hope()

    def _doubt(self) -> None:
        """Go off when plain decoding is ahead for the second time; measure it afresh when it is for the first."""
        if self._plain.beats(self._drafting, self._options.margin):
            self._agreeing += 1
        else:
            self._agreeing = 0
        if self._agreeing >= IN_A_ROW:
            self._leave_for("off")
        elif self._drafting.rate and (
            (not self._plain.rate and self._plausible())
            or (self._agreeing and self._waited >= self._options.probe_every)
        ):
            self._enter("baseline")

    def _plausible(self) -> bool:
        """Tell whether plain decoding might be the faster one; the cost model may be wrong by a quarter."""
        return self._guessed * PLAUSIBLE > self._drafting.rate

    def _hope(self) -> None:
        """Go on when speculation is ahead for the second time; after a failure wait longer."""
        if not self._drafting.beats(self._plain, self._options.margin):
            self._failures = min(self._failures + 1, MOST_DOUBLINGS)
            self._leave_for("off")
            return
        self._agreeing += 1
        if self._agreeing >= IN_A_ROW:
            self._failures = 0
            self._leave_for("on")

    def _leave_for(self, phase: Phase) -> None:
        self._enter(phase)
        self._agreeing = self._waited = 0

    def _count_idle(self, done: Round) -> None:
        """Take the inner policy's own rounds without drafting for a look at plain decoding."""
        self._idle.add(done)
        if self._idle.rounds >= self._options.probe_window:
            self._plain.follow(self._idle, done.context)
            self._idle = Window()
            self._waited = 0
