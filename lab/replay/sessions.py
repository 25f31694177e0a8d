"""A recorded text behind the real decoder: a target and drafts that do again what was recorded of them.

This is replay the slow way: the loop, the guard and the live cost model are those of any decoder, and virtual time is
that of a `TextClock` over the recording's cost sheet. The kernel is held against it, and whatever takes a decoder
can be tried on a recording.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from paceline.core.clock import ScoreWork
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.proposals import TokenProposal, TokenVerdict
from paceline.lab.replay.kernel import capabilities
from paceline.lab.replay.laid import Laid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.core.costs import LiveCosts
    from paceline.core.protocols import Costs, Policy, Proposal, Watch, Work
    from paceline.core.records import Capabilities, Signal, TokenSignals
    from paceline.lab.recording.model import DraftInfo, Header, Text
    from paceline.lab.recording.sheet import CostSheet
    from paceline.lab.replay.laid import LaidChanges, LaidDraft


class TextClock:
    """Virtual time that moves by what work costs by a sheet, as the text at hand changes it at the place at hand."""

    def __init__(self, sheet: CostSheet) -> None:
        self._sheet = sheet
        self._now = 0.0
        self._changes: LaidChanges | None = None
        self._place = self._after = 0

    def now(self) -> float:
        """Return the sum of everything spent."""
        return self._now

    def turn_to(self, changes: LaidChanges, place: int) -> None:
        """Go by a text, at the place where a round begins."""
        self._changes, self._place = changes, place

    def leads_to(self, place: int) -> None:
        """Note the place after the round."""
        self._after = place

    def spend(self, work: Work) -> None:
        """Move on by the price of `work`; tokens are scored at the price of the place after them."""
        began = self._place
        if isinstance(work, ScoreWork):
            self._place = self._after
        self._now += work.price(self)
        self._place = began

    def draft_s(self, draft: str, gamma: int, lag: int = 0) -> float:
        """Return the seconds to draft `gamma` tokens here after catching up on `lag`."""
        seconds = self._sheet.draft_s(draft, gamma, lag)
        return seconds if self._changes is None else seconds * self._at(self._changes.drafts[draft])

    def verify_s(self, length: int, context: int) -> float:
        """Return the seconds to verify a block of `length` tokens here."""
        seconds = self._sheet.verify_s(length, context)
        if self._changes is None:
            return seconds
        return seconds * self._at(self._changes.verify) + (length - 1) * self._at(self._changes.token_s)

    def look_s(self, draft: str) -> float:
        """Return the seconds that the signals of each draft token take here."""
        seconds = self._sheet.drafts[draft].look_s
        return seconds if self._changes is None else seconds * self._at(self._changes.drafts[draft])

    def _at(self, values: Sequence[float]) -> float:
        return values[min(self._place, len(values) - 1)]


@dataclass(frozen=True, slots=True)
class OwnWork:
    """What a round takes besides drafting, verifying and scoring."""

    sheet: CostSheet

    def price(self, costs: Costs) -> float:
        """Return the sheet's own share of the loop, whatever else is asked."""
        return self.sheet.overhead_s


@dataclass(frozen=True, slots=True)
class LookWork:
    """Signals of so many tokens were looked at."""

    token_s: float
    tokens: int

    def price(self, costs: Costs) -> float:
        """Return what looking takes, whatever else is asked."""
        return self.token_s * self.tokens


@dataclass(frozen=True)
class RecordedTarget:
    """The target of one recorded text."""

    laid: Laid
    header: Header
    clock: TextClock

    codec = None
    max_context = None

    @property
    def vocabulary(self) -> int:
        """Enough for all tokens, and for one that is wrong everywhere."""
        prompt = self.laid.text.prompt or ()
        return max((*self.laid.tokens, *prompt)) + 2

    @property
    def eos(self) -> frozenset[int]:
        """The last token, if the text ended by one."""
        return frozenset(self.laid.tokens[-1:]) if self.laid.text.ended == "eos" else frozenset()

    @property
    def capabilities(self) -> Capabilities:
        """What was recorded."""
        return capabilities(self.header)

    def open(self, prompt: Sequence[int]) -> RecordedTargetSession:
        """Start the text from its beginning."""
        return RecordedTargetSession(self)

    def perplexity(self, prompt: Sequence[int]) -> float | None:
        """Return what was recorded."""
        return self.laid.text.perplexity


class RecordedTargetSession:
    """The recorded target at work."""

    def __init__(self, target: RecordedTarget) -> None:
        self._target = target
        self._position = 0
        target.clock.turn_to(target.laid.changes, 0)

    def verify(self, proposal: Proposal | None) -> TokenVerdict:
        """Accept tokens up to the first that is not the text's."""
        rest = self._target.laid.tokens[self._position :]
        accepted = 0
        for token, wanted in zip(proposal.tokens if proposal is not None else (), rest, strict=False):
            if token != wanted:
                break
            accepted += 1
        self._target.clock.leads_to(self._position + accepted + 1)
        # After the end of the text the target would have gone on somehow; the loop cuts it off.
        return TokenVerdict(accepted, (*rest, 0)[: accepted + 1])

    def advance(self, tokens: Sequence[int]) -> None:
        """Take in the tokens a round delivered; its own share of time passes."""
        self._position += len(tokens)
        self._target.clock.spend(OwnWork(self._target.header.costs))
        self._target.clock.turn_to(self._target.laid.changes, self._position)

    def close(self) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class RecordedDraft:
    """One draft of a recorded text."""

    laid: Laid
    info: DraftInfo
    starts: LaidDraft
    wrong: int
    clock: TextClock

    @property
    def signals(self) -> frozenset[Signal]:
        """Those recorded."""
        return self.info.signals

    def open(self, prompt: Sequence[int]) -> RecordedDraftSession:
        """Start the text from its beginning."""
        kind = ScoringDraftSession if self.info.scores else RecordedDraftSession
        return kind(self, len(prompt))


class RecordedDraftSession:
    """A recorded draft at work; it lags as one with a cache does, if it had one."""

    def __init__(self, draft: RecordedDraft, prompt_tokens: int) -> None:
        self._draft = draft
        self._position = 0
        self._context = prompt_tokens
        self._cached = 0
        self._tried: Sequence[int] | None = None

    @property
    def lag(self) -> int:
        """Tokens of the context, its last one not counted, that the cache lacks."""
        return max(0, self._context - 1 - self._cached) if self._draft.info.caches else 0

    @property
    def hint(self) -> int | None:
        """What it hinted here; None for a draft without hints."""
        hints = self._draft.starts.hints
        return None if hints is None else hints[self._position]

    def draft(self, gamma: int, watch: Watch | None) -> TokenProposal:
        """Propose what it proposed here: the text as far as it agreed, and then something else."""
        starts, position = self._draft.starts, self._position
        length, agreed = min(gamma, starts.offered[position]), starts.agreed[position]
        right = self._draft.laid.tokens[position : position + min(length, agreed)]
        tokens = right + (self._draft.wrong,) * (length - len(right))
        signals: list[TokenSignals] = []
        if watch is not None:
            for about in starts.row(watch.signals, position)[:length]:
                if about is None:
                    starts.refuse(watch.signals, position)
                signals.append(about)
                stopped = watch.stop is not None and watch.stop.stops(about)
                if stopped or (watch.keep is not None and not watch.keep(about)):
                    break
            tokens = tokens[: len(signals)]
            clock = self._draft.clock
            clock.spend(LookWork(clock.look_s(starts.name), len(tokens)))
        if tokens:
            # All but the last `short` of the context, and of what it proposed, has been read.
            self._tried = tokens[: max(len(tokens) - self._draft.info.short, 0)]
            self._cached = self._context
        return TokenProposal(tokens, tuple(signals))

    def advance(self, tokens: Sequence[int]) -> None:
        """Take in the tokens a round delivered."""
        if self._tried is not None:
            kept = 0
            for tried, token in zip(self._tried, tokens, strict=False):
                if tried != token:
                    break
                kept += 1
            self._cached += kept
            self._tried = None
        self._context += len(tokens)
        self._position += len(tokens)

    def close(self) -> None:
        """Do nothing."""


class ScoringDraftSession(RecordedDraftSession):
    """A recorded draft that can be asked what it would have made of tokens of others."""

    def score(self, tokens: Sequence[int]) -> list[float]:
        """Return 1.0 where the first token it would have proposed is right, and read the context."""
        self._tried = tuple(tokens[:-1])
        self._cached = self._context
        first = self._draft.starts.agreed[self._position : self._position + len(tokens)]
        return [float(agreed > 0) for agreed in first]


def recorded_decoder(
    header: Header,
    text: Text,
    policy: Policy,
    *,
    costs: LiveCosts | None = None,
    clock: TextClock | None = None,
) -> SpeculativeDecoder:
    """Return a decoder that decodes one recorded text, in virtual time, under a policy.

    Give it the text's prompt, or any tokens as many as `text.prompt_tokens` where prompts were not kept. For several
    texts in a row, pass on policy, costs and clock.

    Raises:
        CapabilityError: The policy needs what was not recorded.
    """
    clock = clock or TextClock(header.costs)
    laid = Laid(text, header.drafts)
    target = RecordedTarget(laid, header, clock)
    length = len(text.tokens)
    return SpeculativeDecoder(
        target,
        {
            name: RecordedDraft(laid, info, laid.drafts[name], target.vocabulary - 1, clock)
            for name, info in header.drafts.items()
        },
        policy,
        clock=clock,
        costs=costs,
        max_new_tokens=text.wanted,
        stop=(lambda output: len(output) >= length,) if text.ended == "stop" else (),
    )
