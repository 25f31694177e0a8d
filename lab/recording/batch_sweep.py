"""Timings of rounds that several requests share, for a latency profile: passes by requests and by draft tokens."""

from __future__ import annotations

import gc
from itertools import cycle, islice
from random import Random
from typing import TYPE_CHECKING, ClassVar, cast

from paceline.core.batch import BatchDecoder
from paceline.core.batch_costs import BatchCosts, DraftTimes
from paceline.core.costs import LiveCosts
from paceline.core.errors import CapabilityError, describe
from paceline.core.optional_protocols import BatchTarget
from paceline.core.price import CATCH_UP
from paceline.core.records import Plan, Requirements
from paceline.lab.recording.latency import PassTimes
from paceline.lab.recording.latency_fit import grouped, rising

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paceline.core.batch import BatchRequest
    from paceline.core.protocols import Policy
    from paceline.core.records import Round, RoundStart
    from paceline.lab.models import Models
    from paceline.lab.recording.latency import LatencyProfile
    from paceline.lab.workloads.prompts import Prompt

ROUNDS = 96
"""Rounds that are timed for each number of requests."""

UNTIMED = 4
"""Rounds before them, which are slow."""


class TimedPasses(BatchCosts):
    """Keeps what each shared pass took, besides learning from it.

    Attributes:
        verified: Requests, draft tokens, context and seconds of each verification.
        drafted: Draft, steps, tokens, lag and seconds of each drafting.
    """

    def __init__(self) -> None:
        super().__init__()
        self.verified: list[tuple[int, int, int, float]] = []
        self.drafted: list[tuple[str, int, int, int, float]] = []

    def observe_drafting(
        self, draft: str, rows: int, steps: int, tokens: int, lag: int, seconds: float
    ) -> None:
        """Keep a drafting."""
        super().observe_drafting(draft, rows, steps, tokens, lag, seconds)
        self.drafted.append((draft, steps, tokens, lag, seconds))

    def observe_verification(self, rows: int, drafted: int, context: int, seconds: float) -> None:
        """Keep a verification."""
        super().observe_verification(rows, drafted, context, seconds)
        self.verified.append((rows, drafted, context, seconds))


class BatchSweepPolicy:
    """Plans rounds of every size: one draft a round, and for each request any gamma up to one drawn for the round.

    Args:
        drafts: What can be planned.
        gammas: Which gammas, ascending.
        seed: Of the draws.
    """

    requires: ClassVar[Requirements] = Requirements(zero_gamma=True, draft_switch="round")
    needs: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, drafts: Sequence[str], gammas: Sequence[int], seed: int) -> None:
        self._drafts = cycle(drafts)
        self._gammas = (0, *gammas)
        self._random = Random(seed)

    def plan(self, start: RoundStart) -> Plan:
        """Plan a round of one request, of which nothing is timed."""
        del start
        return Plan(0)

    def plan_batch(self, starts: Sequence[RoundStart]) -> list[Plan]:
        """Draw a draft, a largest gamma, and a gamma for each request."""
        draft, random = next(self._drafts), self._random
        within = self._gammas[: 1 + random.randrange(len(self._gammas))]
        gammas = [start.gammas(random.choice(within))[-1] for start in starts]
        return [Plan(gamma, draft if gamma else None, use_signals=False) for gamma in gammas]

    def observe(self, done: Round) -> None:
        """Learn nothing."""


def require_shared_passes(models: Models) -> None:
    """Refuse to time what is not there.

    Raises:
        CapabilityError: The target shares no passes.
    """
    target = models.target
    if not isinstance(target, BatchTarget) or not target.shares_passes:
        reason = getattr(target, "unshared", None) or "its backend decodes one request after the other"
        raise CapabilityError(
            f"{describe(target)} shares no passes between requests ({reason}); leave --batch out"
        )


def time_batches(
    models: Models, prompts: Sequence[Prompt], sizes: Sequence[int], profile: LatencyProfile, longest: int
) -> dict[int, PassTimes]:
    """Return what passes take that so many requests share, on these prompts.

    Args:
        models: Target and drafts.
        prompts: Decoded again and again until enough rounds were timed.
        sizes: Numbers of requests, from 2 on.
        profile: Of one request; a token of context adds as much to a shared pass.
        longest: The largest gamma.
    """
    return {rows: _timed(models, prompts, rows, profile, longest) for rows in sizes}


def _timed(
    models: Models, prompts: Sequence[Prompt], rows: int, profile: LatencyProfile, longest: int
) -> PassTimes:
    generation, allowed = models.config.generation, models.target.capabilities.gammas
    gammas = [gamma for gamma in range(1, longest + 1) if allowed is None or gamma in allowed]
    policy = BatchSweepPolicy(list(models.drafts), gammas, generation.seed)
    decoder = models.trying(cast("Policy", policy))  # all that it leaves out has a default
    passes, costs = TimedPasses(), LiveCosts()
    costs.batch, decoder.costs = passes, costs
    batch, waiting = BatchDecoder(decoder, max_rows=rows, max_waiting=2 * rows), cycle(prompts)
    requests: list[BatchRequest] = []
    gc.collect()
    while len(passes.verified) < ROUNDS + UNTIMED:
        requests = [request for request in requests if not request.done]
        requests += [
            batch.submit(prompt.tokens, max_new_tokens=generation.max_new_tokens)
            for prompt in islice(waiting, 2 * rows - len(requests))
        ]
        batch.step()
        for request in requests:
            if request.error is not None:
                raise request.error
    for request in requests:
        request.cancel()
    batch.step()
    verified = [
        (drafted, max(0.0, seconds - profile.context_s * context))
        for number, drafted, context, seconds in passes.verified[UNTIMED:]
        if number == rows
    ]
    return PassTimes(rising(grouped(verified)), _draft_times(passes, models.drafts))


def _draft_times(passes: TimedPasses, drafts: Mapping[str, object]) -> dict[str, tuple[float, float]]:
    """Return the seconds of a step and of a token of each draft."""
    known = {name: DraftTimes(0.0) for name in drafts}
    for draft, steps, tokens, lag, seconds in passes.drafted:
        if tokens:
            known[draft].observe(steps, tokens + CATCH_UP * lag, seconds)
    return {name: times.prices() for name, times in known.items()}
