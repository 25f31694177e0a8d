"""Replay: any policy, unchanged, decodes one recorded text after another by the rounds of the loop, in virtual time."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, cast

from paceline.core.clock import ScoreWork
from paceline.core.costs import LiveCosts
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.errors import BackendError, ContractError, TraceError
from paceline.core.generation import Tally
from paceline.core.guards.policy import PolicyGuard, check_fit, requires_of
from paceline.core.recorded import TextClock
from paceline.core.records import Capabilities
from paceline.lab.replay.tables import ReplayText, UnkeptPrompt

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from paceline.core.generation import Totals
    from paceline.core.protocols import Draft, Policy, Work
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
    return Capabilities(gammas=tuple(range(header.longest + 1)), sampling=header.mode == "sampled")


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

    def _rounds(self, record: RecordedText, tally: Tally) -> None:
        request = record.request(
            self._policy, self._capabilities, self._clock, self._costs, self._costs.observe
        )
        if not self._perplexity:
            request.perplexity = None
        on_round = self._on_round
        with request:
            while request.ended is None:
                done = request.round()
                tally.add(done, done.total_s)
                if on_round is not None:
                    on_round(done)


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
