"""Replay: any policy, unchanged, decodes one recorded text after another by the rounds of the loop, in virtual time."""

from __future__ import annotations

from array import array
from itertools import islice
from typing import TYPE_CHECKING, cast

from paceline.core.batch_rounds import BatchRounds
from paceline.core.clock import DraftPassWork, PassWork, ScoreWork
from paceline.core.costs import LiveCosts
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.errors import BackendError, ContractError, TraceError
from paceline.core.generation import Tally
from paceline.core.guards.policy import PolicyGuard, check_fit, requires_of
from paceline.core.loop import Request
from paceline.core.recorded import TextClock
from paceline.core.records import Capabilities
from paceline.lab.replay.tables import ReplayText, UnkeptPrompt
from paceline.lab.replay.trees import MAX_NODES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from paceline.core.generation import Totals
    from paceline.core.protocols import Draft, Policy, Target, Work
    from paceline.core.recorded import RecordedText
    from paceline.core.records import Round
    from paceline.lab.recording.latency import LatencyProfile
    from paceline.lab.recording.model import Header, Text
    from paceline.lab.replay.tables import CostFactors

LATEST = 1 << 19
"""Rounds that wait to be learnt from at most, at 48 bytes each."""

WIDTH = 6


class LatencyClock(TextClock):
    """Virtual time by a latency profile, as the text at hand changes it at the place at hand."""

    def __init__(self, profile: LatencyProfile) -> None:
        super().__init__(profile)
        self._profile = profile
        self.factors: CostFactors | None = None

    def spend(self, work: Work) -> None:
        """Move on by the price of `work`; tokens are scored at the price of the place after them."""
        if self.factors is None:
            self._now += work.price(self._profile)
            return
        place = self.place
        if isinstance(work, ScoreWork):
            self.place = min(self.after, len(self.factors.verify) - 1)
        self._now += work.price(self)
        self.place = place

    def looked(self, draft: str, tokens: int) -> None:
        """Move on by what looking at signals takes."""
        look_s = self._profile.drafts[draft].look_s
        if self.factors is not None:
            look_s *= self.factors.drafts[draft][self.place]
        self._now += look_s * tokens

    def round_ends(self, place: int) -> None:
        """Move on by the loop's own share of a round."""
        self.place = place
        self._now += self._profile.overhead_s

    def draft_s(self, draft: str, gamma: int, lag: int = 0) -> float:
        """Return the seconds to draft `gamma` tokens here after catching up on `lag`."""
        assert self.factors is not None
        return self._profile.draft_s(draft, gamma, lag) * self.factors.drafts[draft][self.place]

    def verify_s(self, length: int, context: int) -> float:
        """Return the seconds to verify a block of `length` tokens here."""
        assert self.factors is not None
        seconds = self._profile.verify_s(length, context) * self.factors.verify[self.place]
        return seconds + (length - 1) * self.factors.token_s[self.place]


class BatchClock(LatencyClock):
    """Virtual time of requests that share their passes: these are paid for as a whole, unless one has them for itself.

    Attributes:
        rows: Requests in the round under way.
    """

    rows = 1

    def spend(self, work: Work) -> None:
        """Move on by the price of `work`; the parts of what is shared are free."""
        profile = self._profile
        if isinstance(work, PassWork):
            self._now += profile.pass_s(*work)
        elif isinstance(work, DraftPassWork):
            self._now += profile.draft_pass_s(*work)
        elif self.rows == 1 or isinstance(work, ScoreWork):
            super().spend(work)


class SharingRecords:
    """Target or draft of many texts on record at once; what it makes of each is looked up by the request itself.

    Attributes:
        shares_passes: Whether the passes of the model that was recorded are shared.
    """

    def __init__(self, *, shares_passes: bool = True) -> None:
        self.shares_passes = shares_passes

    def verify_batch(self, sessions: Sequence[object], proposals: Sequence[object]) -> list[None]:
        """Leave the answer to each session."""
        del proposals
        return [None] * len(sessions)

    def draft_batch(
        self, sessions: Sequence[object], gammas: Sequence[int], controls: Sequence[object]
    ) -> list[None]:
        """Leave the answer to each session."""
        del gammas, controls
        return [None] * len(sessions)


class LateCosts(LiveCosts):
    """A live cost model that keeps rounds until it is asked; its answers are those of `LiveCosts`."""

    def __init__(self) -> None:
        super().__init__()
        self._late = array("d")
        self._names: list[str] = []

    def draft_s(self, draft: str, gamma: int, lag: int = 0) -> float:
        """Learn what is left to learn, and answer."""
        if self._late:
            self._catch_up_on_rounds()
        return super().draft_s(draft, gamma, lag)

    def verify_s(self, length: int, context: int) -> float:
        """Learn what is left to learn, and answer."""
        if self._late:
            self._catch_up_on_rounds()
        return super().verify_s(length, context)

    def round_s(self, draft: str, longest: int, context: int) -> tuple[Sequence[float], float]:
        """Learn what is left to learn, and answer."""
        if self._late:
            self._catch_up_on_rounds()
        return super().round_s(draft, longest, context)

    def draft_tree_s(self, draft: str, depth: int) -> float:
        """Learn what is left to learn, and answer."""
        if self._late:
            self._catch_up_on_rounds()
        return super().draft_tree_s(draft, depth)

    def verify_tree_s(self, nodes: int, context: int) -> float:
        """Learn what is left to learn, and answer."""
        if self._late:
            self._catch_up_on_rounds()
        return super().verify_tree_s(nodes, context)

    def age(self, length: int) -> float:
        """Learn what is left to learn, and answer."""
        if self._late:
            self._catch_up_on_rounds()
        return super().age(length)

    def observe(self, done: Round) -> None:
        """Keep a finished round for later; one of a tree is learnt from at once."""
        if done.tree is not None:
            self._catch_up_on_rounds()
            super().observe(done)
            return
        self.take(done.plan.draft, done.drafted, done.lag, done.context, done.draft_s, done.verify_s)

    def take(
        self, draft: str | None, drafted: int, lag: int, context: int, draft_s: float, verify_s: float
    ) -> None:
        """Keep what the model learns from a finished round."""
        if draft is None:
            number = -1
        elif draft in self._names:
            number = self._names.index(draft)
        else:
            number = len(self._names)
            self._names.append(draft)
        # Whole numbers below 2^53 are exact as doubles.
        self._late.extend((number, drafted, lag, context, draft_s, verify_s))
        if len(self._late) >= WIDTH * LATEST:
            self._catch_up_on_rounds()

    def _catch_up_on_rounds(self) -> None:
        late, self._late = iter(self._late), array("d")
        for number, drafted, lag, context, draft_s, verify_s in zip(*[late] * WIDTH, strict=True):
            draft = self._names[int(number)] if number >= 0 else None
            self._learn(draft, int(drafted), int(lag), int(context), draft_s, verify_s)


def capabilities(header: Header) -> Capabilities:
    """Return what an engine can do that knows only what was recorded: no gamma beyond the longest proposal."""
    branching = any(info.choices for info in header.drafts.values())
    return Capabilities(
        gammas=tuple(range(header.longest + 1)),
        sampling=header.mode == "sampled",
        nodes=MAX_NODES if branching else 0,
    )


class Simulator:
    """One policy on its way through texts; what it and its cost model learn goes on from text to text.

    Args:
        header: Of the recording.
        policy: Any policy.
        costs: The cost model that the policy is shown, if not a new one.
        on_round: Shown each round as it ends.

    Raises:
        CapabilityError: The policy needs what was not recorded.
    """

    def __init__(
        self,
        header: Header,
        policy: Policy,
        *,
        costs: LiveCosts | None = None,
        on_round: Callable[[Round], None] | None = None,
    ) -> None:
        self._header = header
        self._capabilities = capabilities(header)
        drafts = cast("Mapping[str, Draft]", header.drafts)  # all that is asked of them is their `signals`
        check_fit(policy, self._capabilities, drafts)
        self._policy = PolicyGuard(policy, drafts, fallback=False)
        self._perplexity = requires_of(policy).perplexity
        self._costs = LateCosts() if costs is None else costs
        self._clock = LatencyClock(header.costs)
        self._on_round = on_round

    def play(self, text: Text | ReplayText) -> Totals:
        """Let the policy take its way through one text; return the sums over its rounds.

        Raises:
            ContractError: The policy broke the contract of a round.
            TraceError: The policy asked for what was not recorded.
        """
        replayed = text if isinstance(text, ReplayText) else ReplayText.of(text, self._header)
        record, clock = replayed.record, self._clock
        clock.factors = replayed.factors
        prompt = record.prompt
        if isinstance(prompt, UnkeptPrompt):
            prompt.read = False
        tally = Tally()
        try:
            self._rounds(record, tally)
        except (ContractError, BackendError) as error:
            # What the recording cannot answer is not the policy's fault, though it came up inside of it.
            if isinstance(error.__cause__, TraceError):
                raise error.__cause__ from None
            raise
        if isinstance(prompt, UnkeptPrompt) and prompt.read:
            prompt.refuse()
        return tally.totals()

    def play_together(self, texts: Sequence[ReplayText], rows: int) -> list[Totals]:
        """Let the policy take its way through `rows` texts at a time; another joins when one ends.

        The seconds of a text are its part of those of the rounds that it took part in.

        Raises:
            ContractError: The policy broke the contract of a round.
            TraceError: The policy asked for what was not recorded, which includes passes of so many requests.
        """
        header, clock = self._header, BatchClock(self._header.costs)
        check_shared(header, rows)
        if changing := next((text.text.name for text in texts if text.factors is not None), None):
            raise TraceError(
                f"the text {changing!r} changes what passes cost on its way, which is not known of shared ones; leave "
                "--batch out"
            )
        listed = cast("Mapping[str, Draft]", header.drafts)
        # A draft that was asked for one request after the other took no steps.
        shared = {
            name: SharingRecords(
                shares_passes=any(times.drafts[name][0] for times in header.costs.batches.values())
            )
            for name in header.drafts
        }
        rounds = BatchRounds(
            cast("Target", SharingRecords()), cast("Mapping[str, Draft]", shared), self._costs, clock
        )
        tallies = [Tally() for _ in texts]
        waiting, under_way = iter(zip(texts, tallies, strict=True)), dict[Tally, Request]()
        while True:
            for text, tally in islice(waiting, rows - len(under_way)):
                guard = PolicyGuard(self._policy.policy, listed, fallback=False)
                under_way[tally] = self._request(text.record, guard, clock)
            if not under_way:
                return [tally.totals() for tally in tallies]
            clock.rows = len(under_way)
            outcomes = rounds.take([*under_way.values()])
            for (tally, request), done in zip([*under_way.items()], outcomes, strict=True):
                if isinstance(done, BaseException):
                    raise done.__cause__ if isinstance(done.__cause__, TraceError) else done
                tally.add(done, done.total_s)
                if self._on_round is not None:
                    self._on_round(done)
                if request.ended is not None:
                    with under_way.pop(tally):
                        if isinstance(request.prompt, UnkeptPrompt) and request.prompt.read:
                            request.prompt.refuse()

    def _request(self, record: RecordedText, policy: PolicyGuard, clock: LatencyClock) -> Request:
        request = record.request(policy, self._capabilities, clock, self._costs, self._costs.observe)
        if not self._perplexity:
            request.perplexity = None
        return request

    def _rounds(self, record: RecordedText, tally: Tally) -> None:
        request = self._request(record, self._policy, self._clock)
        on_round = self._on_round
        with request:
            while request.ended is None:
                done = request.round()
                tally.add(done, done.total_s)
                if on_round is not None:
                    on_round(done)


def check_shared(header: Header, rows: int) -> None:
    """Refuse to decode so many texts at once where it is not known what that takes.

    Raises:
        TraceError: Passes of so many were not recorded.
    """
    if rows > max(header.costs.batches, default=1):
        measured = ", ".join(map(str, sorted(header.costs.batches))) or "one"
        raise TraceError(
            f"the recording has times of passes of {measured} at once, and not of {rows}; make one with "
            f"`paceline record --batch {rows}`"
        )


def recorded_decoder(
    header: Header,
    text: Text,
    policy: Policy,
    *,
    costs: LiveCosts | None = None,
    clock: LatencyClock | None = None,
) -> SpeculativeDecoder:
    """Return a decoder that decodes one recorded text, in virtual time, under a policy.

    Give it the text's prompt, or any tokens as many as `text.prompt_tokens` where prompts were not kept. For several
    texts in a row, pass on policy, costs and clock.

    Raises:
        CapabilityError: The policy needs what was not recorded.
    """
    clock = clock or LatencyClock(header.costs)
    replayed = ReplayText.of(text, header)
    clock.factors = replayed.factors
    length = len(text.tokens)
    return SpeculativeDecoder(
        replayed.record.target(capabilities(header), clock),
        {name: replayed.record.draft(name, clock) for name in header.drafts},
        policy,
        clock=clock,
        costs=costs,
        max_new_tokens=text.max_new_tokens,
        stop=(lambda output: len(output) >= length,) if text.ended == "stop" else (),
    )
