"""A finite state machine whose gamma is exceeded while the draft repeats what the text said before.

The second alternative of section 4.2 of "A Drop-In Solution for On-the-Fly Adaptation of Speculative Decoding in
Large Language Models" (ACL 2025, https://aclanthology.org/2025.acl-long.482): the cache-enabled FSM, which moves
gamma by the history of verdicts and by prompt and output as well. The paper says what it is good for, question
answering and code completion with long prompts, and that it is weak where short prompts ask for varied text. We
know of no published rule.

Our reading. A counter holds gamma, as in `fsm`. A cache knows every run of n tokens of prompt and output. The round
drafts gamma tokens; from then on, up to `max_gamma`,

    draft another token    if the last n tokens, drafted ones counted, are a run of the cache;
    draft no more          at the first that is not.

The token that missed was drawn from the draft's distribution, so it is verified like the others. Afterwards

    gamma <- min(gamma + 1, max_gamma)    if at least gamma tokens were accepted
    gamma <- max(gamma - 1, min_gamma)    if one of the first gamma was refused,

so that the counter judges its own part of a block and not what the cache added. Ours besides: the cache is bounded
and its oldest runs are dropped, and rounds that were ended, or too short to tell, leave gamma alone.

The text is only looked at while it is decoded. Saved states hold gamma and no trace of the text.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from paceline.core.records import Plan, Requirements
from paceline.policies.gamma_controller import GammaController, GammaControllerConfig
from paceline.policies.signals.ngrams import Ngrams

if TYPE_CHECKING:
    from paceline.core.records import RoundStart, Signal, TokenSignals


class CachedFsmConfig(GammaControllerConfig):
    """Count gamma up and down, and draft beyond it while the draft repeats prompt or output."""

    name: Literal["cached-fsm"] = "cached-fsm"
    ngram: int = Field(
        default=3, ge=2, le=4, description="Tokens that must repeat for drafting to go on (n)."
    )
    cache: int = Field(default=16_384, ge=1, description="Runs of n tokens remembered of a request.")

    def build(self, seed: int = 0) -> CachedFsmPolicy:
        """Return a fresh policy."""
        return CachedFsmPolicy(self)


class CachedFsmPolicy(GammaController):
    """A counter for the first part of a block, a cache for the rest."""

    needs: frozenset[Signal] = frozenset({"token"})

    def __init__(self, config: CachedFsmConfig) -> None:
        super().__init__(config)
        self.requires = Requirements(immediate=True, signals=self.needs, draft=config.draft)
        self._ngrams = Ngrams(config.ngram, config.cache)
        self._tail: tuple[int, ...] = ()

    def plan(self, start: RoundStart) -> Plan:
        """Plan what the cache may lead to; `keep_drafting` ends the round earlier."""
        plan = super().plan(start)
        self._tail = self._ngrams.read(start.tokens, new=start.index == 0)
        return replace(plan, gamma=start.gammas(self._options.max_gamma)[-1]) if plan.gamma else plan

    def keep_drafting(self, signals: TokenSignals) -> bool:
        """Go on within gamma, and beyond it while the text repeats itself."""
        run = (*self._tail, int(signals.value("token")))
        self._tail = run[1 - self._ngrams.n :]
        return signals.position + 1 < self._gamma or run in self._ngrams

    def moved(self, accepted: int, drafted: int) -> int:
        """Judge the first gamma tokens of the round only."""
        if accepted >= self._gamma:
            return self._gamma + 1
        return self._gamma - 1 if accepted < drafted else self._gamma
