"""Records one text: what the target writes by plain decoding, and what every draft would have done to it."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING

from paceline.core.errors import BackendError
from paceline.core.optional_protocols import SampledDraft, SupportsPerplexity, SupportsScoring, SupportsTrees
from paceline.core.sampling import open_draft, open_target
from paceline.core.trace import prompt_sha256
from paceline.lab.decoding import decode
from paceline.lab.recording.draft_walk import (
    DraftQuery,
    match_lengths_of,
    memoryless,
    probe_everywhere,
    ranks_of,
    walk_draft,
)
from paceline.lab.recording.model import DraftInfo, Text
from paceline.lab.recording.sampled_walk import acceptance_probabilities, draw, token_probs
from paceline.lab.repetition import repetition

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paceline.core.decoder import SpeculativeDecoder
    from paceline.core.protocols import Draft, DraftSession
    from paceline.core.records import Signal
    from paceline.core.sampling import Sampling
    from paceline.lab.recording.model import Starts
    from paceline.lab.workloads.prompts import Prompt


@dataclass(frozen=True, slots=True)
class Recorder:
    """Records texts of one target and its drafts.

    Attributes:
        plain: Decodes with the target alone, as the run says.
        drafts: By name, in the order listed.
        sampling: How tokens are chosen; the same as of `plain`. Its seed decides what is accepted where they are drawn.
        longest: The most tokens a draft is asked for.
        signals: Whether signals are recorded.
        keep_prompts: Whether the tokens of prompts are.
        choices: How many choices of a draft are told apart at each place, where it branches and tokens are not drawn,
            so that trees can be replayed; it drafts once more for each token. 0: first choices alone.
    """

    plain: SpeculativeDecoder
    drafts: Mapping[str, Draft]
    sampling: Sampling
    longest: int
    signals: bool = True
    keep_prompts: bool = False
    choices: int = 0

    def info(self, prompt: Sequence[int]) -> dict[str, DraftInfo]:
        """Find out what holds for each draft, by trying it on a prompt.

        Raises:
            BackendError: Tokens are drawn, and a draft that draws its own cannot say how probable they are.
        """
        return {name: self._info(name, draft, prompt) for name, draft in self.drafts.items()}

    def text(self, prompt: Prompt, max_new_tokens: int) -> Text:
        """Record one text of at most `wanted` tokens.

        Raises:
            BackendError: The prompt does not fit the target, or a draft fails.
            ContractError: A draft proposes what it may not.
        """
        written = decode(self.plain, prompt.tokens, max_new_tokens)
        tokens = tuple(written.tokens)
        assert written.ended is not None
        target = self.plain.target
        drawn = None if self.sampling.greedy else self._target_shares(prompt.tokens, tokens)
        return Text(
            name=prompt.name,
            kind=prompt.kind,
            prompt_sha256=prompt_sha256(prompt.tokens),
            prompt_tokens=len(prompt.tokens),
            prompt=prompt.tokens if self.keep_prompts else None,
            # The context of the target may end before.
            max_new_tokens=len(tokens) if written.ended == "length" else max_new_tokens,
            tokens=tokens,
            ended=written.ended,
            varies=repetition(tokens).varies,
            perplexity=target.perplexity(list(prompt.tokens))
            if isinstance(target, SupportsPerplexity)
            else None,
            drafts={name: self._starts(name, prompt, tokens, drawn) for name in self.drafts},
        )

    def _starts(
        self, name: str, prompt: Prompt, tokens: Sequence[int], drawn: Sequence[float] | None
    ) -> Starts:
        with self._opened(name, prompt.tokens) as session:
            match_lengths = match_lengths_of(name, session, tokens)
        with self._opened(name, prompt.tokens) as session:
            query = DraftQuery(name, session, self._signals(name), self.plain.target.vocabulary)
            if drawn is not None and self._draws(name):
                own = self._draft_shares(name, prompt.tokens, tokens)
                return draw(
                    query,
                    tokens,
                    self.longest,
                    own=own,
                    acceptance_probs=acceptance_probabilities(own, drawn),
                    random=Random(f"{self.sampling.seed}/{prompt.name}/{name}"),
                    match_lengths=match_lengths,
                )
            walk = walk_draft if memoryless(session) else probe_everywhere
            starts = walk(query, tokens, self.longest, match_lengths=match_lengths)
        with self._opened(name, prompt.tokens) as session:
            if self._branches(session):
                starts = replace(starts, ranks=ranks_of(session, tokens, self.choices, starts.agreed))
        return starts

    def _info(self, name: str, draft: Draft, prompt: Sequence[int]) -> DraftInfo:
        with self._opened(name, prompt) as session:
            if self._draws(name) and not (memoryless(session) and isinstance(session, SupportsScoring)):
                raise BackendError(
                    f"draft {name!r} draws its tokens but cannot say how probable those of the text are, so what it "
                    "would have had accepted is not known; record at temperature 0.0, or leave it out (--drafts)"
                )
            match_lengths = getattr(session, "match_length", None) is not None
            scores = isinstance(session, SupportsScoring)
            branches = self._branches(session)
            session.advance(prompt[-1:])
            session.advance(prompt[-1:])
            caches = session.lag > 0
            proposed = tuple(session.draft(1, None).tokens)
            session.advance([*proposed, prompt[-1]])
            # All that was proposed counts as accepted.
            short = session.lag if caches and proposed else int(caches)
        return DraftInfo(
            caches=caches,
            short=short,
            signals=self._signals(name),
            match_lengths=match_lengths,
            scores=scores,
            choices=self.choices if branches else 0,
        )

    def _branches(self, session: DraftSession) -> bool:
        return self.choices > 1 and self.sampling.greedy and isinstance(session, SupportsTrees)

    def _signals(self, name: str) -> frozenset[Signal]:
        """Return the signals of a draft that are recorded."""
        known = self.drafts[name].signals & self.plain.target.capabilities.signals
        return known if self.signals else frozenset()

    def _opened(self, name: str, prompt: Sequence[int]) -> closing[DraftSession]:
        return closing(open_draft(name, self.drafts[name], prompt, self.sampling))

    def _draws(self, name: str) -> bool:
        return not self.sampling.greedy and isinstance(self.drafts[name], SampledDraft)

    def _draft_shares(self, name: str, prompt: Sequence[int], tokens: Sequence[int]) -> list[float]:
        with self._opened(name, prompt) as session:
            assert isinstance(session, SupportsScoring)  # as `info` has found out
            return token_probs(session, session, tokens)

    def _target_shares(self, prompt: Sequence[int], tokens: Sequence[int]) -> list[float] | None:
        """Return the target's probability of each token it wrote; None where no draft needs it."""
        if not any(map(self._draws, self.drafts)):
            return None
        with closing(open_target(self.plain.target, prompt, self.sampling)) as session:
            if not isinstance(session, SupportsScoring):
                raise BackendError(
                    "the target cannot say how probable its tokens were, so what drafts that draw theirs would have "
                    "had accepted is not known; record at temperature 0.0"
                )
            return token_probs(session, session, tokens)
