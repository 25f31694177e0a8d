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

from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from paceline.core.records import Plan, Requirements
from paceline.policies.baselines.gamma_controller import GammaController, GammaControllerConfig, GammaState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.core.records import RoundStart, Signal, TokenSignals


class Ngrams:
    """Knows the runs of one text.

    Runs are kept as hashes. Two runs with the same hash are taken for one; with 64 bits that hardly happens, and only
    costs a draft token.

    Args:
        n: Tokens of a run.
        most: Runs that are remembered; the one that was not seen for longest is forgotten first.
    """

    def __init__(self, n: int, most: int) -> None:
        self.n = n
        self._most = most
        self._runs: OrderedDict[int, None] = OrderedDict()
        self._read = 0
        self._end: tuple[int, ...] = ()  # the last n - 1 tokens read, fewer at the start of a text

    def __len__(self) -> int:
        return len(self._runs)

    def __contains__(self, run: tuple[int, ...]) -> bool:
        return hash(run) in self._runs

    def read(self, text: Sequence[int], *, new: bool) -> tuple[int, ...]:
        """Read what was added to the text since the last time, and return its last n - 1 tokens.

        Starts afresh when told that the text is new, or when it does not go on from where the last one was left. Of a
        text longer than what is remembered only the end is read.
        """
        keep = self.n - 1
        if new or tuple(text[self._read - len(self._end) : self._read]) != self._end:
            self._runs.clear()
            self._read = 0
        first = max(self._read - keep, len(text) - self._most - keep, 0)
        tail = tuple(text[first:])
        runs = self._runs
        for at in range(len(tail) - keep):
            run = hash(tail[at : at + self.n])
            runs[run] = None
            runs.move_to_end(run)
        while len(runs) > self._most:
            runs.popitem(last=False)
        self._read = len(text)
        self._end = tail[-keep:]
        return self._end


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


class CachedFsmPolicy(GammaController[GammaState]):
    """A counter for the first part of a block, a cache for the rest."""

    needs: frozenset[Signal] = frozenset({"token"})

    def __init__(self, config: CachedFsmConfig) -> None:
        super().__init__(config, GammaState(config.min_gamma, config.max_gamma, config.first_gamma))
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
        return signals.position + 1 < self.state.gamma or run in self._ngrams

    def moved(self, accepted: int, drafted: int) -> int:
        """Judge the first gamma tokens of the round only."""
        if accepted >= self.state.gamma:
            return self.state.gamma + 1
        return self.state.gamma - 1 if accepted < drafted else self.state.gamma
