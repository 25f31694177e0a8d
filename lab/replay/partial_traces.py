"""Recording with gaps out of a serving trace, and how far another policy comes in it.

A round tells what its draft would have done from its start with any smaller gamma. For a draft whose tokens depend on
the context alone it tells the same for the starts within its accepted tokens. What lies beyond a gamma that was planned
is censored: it is never guessed. A policy that asks for it once leaves its text unanswered.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from paceline.core.errors import TraceError
from paceline.core.plugins.catalogue import build_policy
from paceline.core.records import DraftState
from paceline.core.trace import read_trace
from paceline.core.trees import leading_firsts
from paceline.lab.recording.latency_fit import Timing, fit
from paceline.lab.recording.model import DraftInfo, Header, Recording, Starts, Text, TextsInMemory
from paceline.lab.replay.simulator import Simulator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from paceline.core.config.blocks import PolicyConfig
    from paceline.core.records import Round
    from paceline.core.trace import TracedRequest

NOTHING = DraftState(0)
WHOLE = "served"
"""The kind of all texts of a trace."""


@dataclass(slots=True)
class Coverage:
    """Coverage of a trace by a policy that is built anew for each text.

    Attributes:
        texts, answered: How many there are, and in how many it asked for nothing that the trace does not know.
        tokens, seconds: Of those that were answered, in virtual time; seconds rank policies only at full coverage.
        first: What it asked for first that is not known.
    """

    texts: int = 0
    answered: int = 0
    tokens: int = 0
    seconds: float = 0.0
    first: str | None = None

    @property
    def rate(self) -> float | None:
        """Tokens a second, where every text was answered."""
        return self.tokens / self.seconds if self.texts == self.answered and self.seconds else None


def partly_recorded(path: Path) -> Recording:
    """Return what a serving trace knows as a recording; texts that were left unfinished are left out.

    Raises:
        TraceError: It is none, or a draft was never used, so that nothing is known of what it takes.
    """
    trace = read_trace(path)
    requests = [request for request in trace.requests if request.ended is not None and request.rounds]
    if not requests or any("drafts" not in request.info for request in requests):
        raise TraceError(f"{path}: no request was finished, or they do not name their drafts; trace anew")
    listed: Mapping[str, Mapping[str, Any]] = requests[0].info["drafts"]
    if any(request.info["drafts"].keys() != listed.keys() for request in requests):
        raise TraceError(f"{path}: requests had different drafts; trace them apart")
    rounds = [done for request in requests for done in request.rounds]
    infos = {name: _info(name, requests) for name in listed}
    profile = fit([_timing(done) for done in rounds if done.tree is None], infos)
    if profile is None:
        raise TraceError(
            f"{path}: a draft was never used, so nothing is known of what it takes; trace without it"
        )
    header = Header(
        run={**trace.run, "signals": False},
        longest=max(1, *(done.plan.gamma for done in rounds)),
        mode="greedy",
        drafts=infos,
        costs=profile,
    )
    texts = [_text(number, request, header) for number, request in enumerate(requests)]
    return Recording(header, (), TextsInMemory(texts))


def coverage(recording: Recording, config: PolicyConfig, *, seed: int = 0) -> Coverage:
    """Try a policy on every text of a trace, built anew for each.

    Raises:
        CapabilityError: It needs what traces do not hold.
        ContractError: It broke the contract of a round.
    """
    covered = Coverage()
    for text in recording:
        player = Simulator(recording.header, build_policy(config, seed))
        covered.texts += 1
        try:
            totals = player.play(text)
        except TraceError as error:
            covered.first = covered.first or f"{text.name}: {error}"
            continue
        covered.answered += 1
        covered.tokens += totals.emitted
        covered.seconds += totals.seconds
    return covered


def _timing(done: Round) -> Timing:
    rest_s = done.total_s - done.draft_s - done.verify_s - done.score_s
    return Timing(
        done.plan.draft,
        done.drafted,
        done.lag,
        done.context,
        bool(done.signals),
        done.draft_s,
        done.verify_s,
        rest_s,
    )


def _state(done: Round, name: str) -> DraftState:
    return done.drafts.get(name, NOTHING)


def _info(name: str, requests: Sequence[TracedRequest]) -> DraftInfo:
    """Return what the rounds show of a draft: whether it lags, also after all of its tokens were accepted."""
    rounds = [request.rounds for request in requests]
    caches = any(_state(done, name).lag for listed in rounds for done in listed)
    lags = [
        _state(after, name).lag
        for listed in rounds
        for done, after in pairwise(listed)
        if done.plan.draft == name and done.drafted and done.accepted == done.drafted
    ]
    match_lengths = any(_state(done, name).match_length is not None for listed in rounds for done in listed)
    short = max(lags, default=1) if caches else 0
    return DraftInfo(
        caches=caches, short=short, signals=frozenset(), match_lengths=match_lengths, scores=True
    )


def _text(number: int, request: TracedRequest, header: Header) -> Text:
    info, tokens = request.info, tuple(token for done in request.rounds for token in done.tokens)
    assert request.ended is not None
    return Text(
        name=f"request {number}",
        kind=WHOLE,
        prompt_sha256=info["prompt_sha256"],
        prompt_tokens=info["prompt_tokens"],
        prompt=None,
        max_new_tokens=info["max_new_tokens"],
        tokens=tokens,
        ended=request.ended,
        varies=True,
        perplexity=info.get("perplexity"),
        drafts={
            name: _starts(name, request.rounds, len(tokens), bool(info["drafts"][name].get("memoryless")))
            for name in header.drafts
        },
    )


def _starts(name: str, rounds: Sequence[Round], count: int, memoryless: bool) -> Starts:
    known, agreed = np.zeros(count, np.int16), np.zeros(count, np.int16)
    match_lengths = np.full(count, -1, np.int32)
    for done in rounds:
        match_length = _state(done, name).match_length
        match_lengths[done.position] = -1 if match_length is None else match_length
        if done.plan.draft != name:
            continue
        # A cut round tells nothing beyond what it delivered.
        accepted, drafted = done.accepted, done.drafted
        if done.tree is not None:  # it tells what became of the chain of its first choices
            accepted, refused = leading_firsts(done)
            drafted = accepted + refused
        accepted = min(accepted, done.emitted)
        sure = accepted if done.ended is not None else drafted
        for place in range(min(accepted, sure - 1) + 1 if memoryless else 1):
            start = done.position + place
            if start < count and sure - place > known[start]:
                known[start], agreed[start] = sure - place, accepted - place
    return Starts(offered=known, agreed=agreed, match_lengths=match_lengths, known=known)
