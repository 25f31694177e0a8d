"""The round: plan, draft, verify, observe.

The loop knows no model, no policy and no tensor. It orders the calls, checks what comes back, ends the text where
the target alone would have ended it, and keeps every session at prompt + emitted tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from paceline.core.abilities import Scoring
from paceline.core.answers import check_hint, check_proposal, check_scores
from paceline.core.clock import DraftWork, ScoreWork, VerifyWork
from paceline.core.deferred import ready_at, waits
from paceline.core.errors import BackendError, ContractError
from paceline.core.finish import finish_round
from paceline.core.guard import PolicyGuard, blame
from paceline.core.limits import Limits
from paceline.core.reading import Reading
from paceline.core.records import Capabilities, Ended, Plan, RoundStart

if TYPE_CHECKING:
    from paceline.core.costs import LiveCosts
    from paceline.core.protocols import Clock, DraftSession, Proposal, TargetSession, Verdict
    from paceline.core.records import Round

log = structlog.get_logger()


@dataclass(slots=True)
class Request:
    """One request under way: its sessions, its output so far, and how to take one more round."""

    prompt: Sequence[int]
    vocabulary: int
    capabilities: Capabilities
    target: TargetSession
    drafts: dict[str, DraftSession]
    policy: PolicyGuard
    costs: LiveCosts
    clock: Clock
    limits: Limits
    fallback: bool
    output: list[int]
    perplexity: float | None = None
    index: int = 0
    ended: Ended | None = None

    def round(self) -> Round:
        """Take one round."""
        start = self._start()
        began = self.clock.now()
        plan = self.policy.plan(start)
        planned = self.clock.now()
        proposal = self._draft(plan, start.lags)
        drafted = self.clock.now()
        verdict = self._verify(proposal, start.context)
        verified = self.clock.now()
        if proposal is not None and waits(proposal, self.clock):
            self._check(plan, proposal)
            drafted = ready_at(proposal, planned, drafted, verified)
        emitted, self.ended = self.limits.cut(self.output, verdict.tokens)
        scores, score_s = self._score(plan, emitted)
        self._advance(emitted)
        done = finish_round(
            start,
            plan,
            drafted=len(proposal) if proposal is not None else 0,
            accepted=verdict.accepted,
            tokens=tuple(emitted),
            ended=self.ended,
            draft_s=drafted - planned,
            verify_s=verified - drafted,
            total_s=self.clock.now() - began,
            signals=tuple(proposal.signals) if proposal is not None else (),
            scores=scores,
            score_s=score_s,
        )
        self.index += 1
        self.costs.observe(done)
        self.policy.observe(done)
        return done

    def close(self) -> None:
        """Close every session; called once however the request ends."""
        for session in (self.target, *self.drafts.values()):
            session.close()

    def _start(self) -> RoundStart:
        position = len(self.output)
        return RoundStart(
            index=self.index,
            position=position,
            context=len(self.prompt) + position,
            # Without a draft nothing can be drafted, so a policy for drafts works unchanged: its budget is 0.
            budget=self.limits.max_new_tokens - position - 1 if self.drafts else 0,
            lags={name: session.lag for name, session in self.drafts.items()},
            costs=self.costs,
            capabilities=self.capabilities,
            tokens=Reading(self.prompt, self.output),
            hints=self._hints(),
            perplexity=self.perplexity,
        )

    def _hints(self) -> dict[str, int]:
        hints = {}
        for name, session in tuple(self.drafts.items()):
            try:
                hint = getattr(session, "hint", None)
                if hint is not None:
                    check_hint(name, session, hint)
                    hints[name] = hint
            except Exception as error:  # noqa: BLE001 - whatever a draft raises is blamed on it
                self._bury(name, error)
        return hints

    def _draft(self, plan: Plan, lags: Mapping[str, int]) -> Proposal | None:
        if plan.gamma == 0 or plan.draft is None:
            return None
        session = self.drafts.get(plan.draft)
        if session is None:  # it failed in an earlier round, and `fallback` buried it
            return None
        try:
            proposal = session.draft(plan.gamma, self.policy.watch(plan))
            if waits(proposal, self.clock):
                return proposal
            check_proposal(plan.draft, session, proposal, plan.gamma, self.vocabulary)
        except Exception as error:  # noqa: BLE001 - whatever a draft raises is blamed on it
            self._bury(plan.draft, error)
            return None
        self.clock.spend(DraftWork(plan.draft, len(proposal), lags[plan.draft]))
        return proposal if len(proposal) else None

    def _check(self, plan: Plan, proposal: Proposal) -> None:
        """Check a proposal that was verified unread; whatever it was, the verdict stands."""
        assert plan.draft is not None
        try:
            check_proposal(plan.draft, self.drafts[plan.draft], proposal, plan.gamma, self.vocabulary)
        except Exception as error:  # noqa: BLE001 - whatever a draft raises is blamed on it
            self._bury(plan.draft, error)

    def _verify(self, proposal: Proposal | None, context: int) -> Verdict:
        verdict = self.target.verify(proposal)
        length = len(proposal) if proposal is not None else 0
        if not 0 <= verdict.accepted <= length or len(verdict.tokens) != verdict.accepted + 1:
            raise ContractError(
                f"target {blame(self.target)}",
                f"of {length} tokens proposed it accepted {verdict.accepted} and gave {len(verdict.tokens)} tokens",
            )
        self.clock.spend(VerifyWork(length + 1, context))
        return verdict

    def _score(self, plan: Plan, emitted: Sequence[int]) -> tuple[dict[str, tuple[float, ...]], float]:
        """Ask the drafts that the plan names what they would have made of the tokens delivered."""
        scores: dict[str, tuple[float, ...]] = {}
        reads: dict[str, int] = {}
        began = self.clock.now()
        for name in sorted(plan.score - {plan.draft}):
            session = self.drafts.get(name)
            if not isinstance(session, Scoring):
                continue
            lag = session.lag
            try:
                found = tuple(session.score(emitted))
                check_scores(name, session, found, len(emitted))
            except Exception as error:  # noqa: BLE001 - whatever a draft raises is blamed on it
                self._bury(name, error)
            else:
                scores[name], reads[name] = found, lag + len(emitted)
        if not scores:
            return scores, 0.0
        self.clock.spend(ScoreWork(tuple(scores), reads))
        return scores, self.clock.now() - began

    def _advance(self, emitted: Sequence[int]) -> None:
        self.target.advance(emitted)
        for name, session in tuple(self.drafts.items()):
            try:
                session.advance(emitted)
            except Exception as error:  # noqa: BLE001 - whatever a draft raises is blamed on it
                self._bury(name, error)

    def _bury(self, name: str, error: Exception) -> None:
        """Go on without a draft that failed, or say which one it was."""
        if isinstance(error, ContractError) and error.culprit.startswith("policy"):
            raise error
        if not self.fallback:
            if isinstance(error, ContractError | BackendError):
                raise error
            raise BackendError(f"draft {name!r} failed: {error!r}") from error
        log.warning("draft_failed", draft=name, error=repr(error), action="going on without it")
        self.drafts.pop(name).close()
