"""The kernel: any policy, unchanged, over one recorded text after another, in virtual time.

It takes the decisions that the real loop would take (`paceline.core.loop`), in its order and with its sums, so that
every round is equal to that of a decoder whose models do what was recorded and whose clock is a `TextClock` over
the recording's cost sheet. `paceline.lab.replay.sessions` makes such a decoder; the tests hold the two against each
other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from paceline.core.errors import ContractError, TraceError
from paceline.core.finish import finish_round
from paceline.core.guard import PolicyGuard, check_fit
from paceline.core.members import needs_of, requires_of
from paceline.core.reading import Reading
from paceline.core.records import Capabilities, Plan, RoundStart
from paceline.lab.replay.costs import LateCosts, Prices
from paceline.lab.replay.laid import Unkept
from paceline.lab.replay.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from paceline.core.costs import LiveCosts
    from paceline.core.protocols import Draft, Policy
    from paceline.core.records import Round, TokenSignals
    from paceline.lab.recording.model import Header
    from paceline.lab.replay.laid import Laid, LaidDraft
    from paceline.lab.replay.results import Outcome


def capabilities(header: Header) -> Capabilities:
    """Return what an engine can do that knows only what was recorded: no gamma beyond the longest proposal."""
    return Capabilities(gammas=tuple(range(header.longest + 1)), sampling=header.mode == "sampled")


class Player:
    """One policy on its way through texts; what it and its cost model learn goes on from text to text.

    Args:
        header: Of the recording.
        policy: Any policy.
        prices: Where players of the same recording share the prices that were looked up.
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
        prices: Prices | None = None,
        costs: LiveCosts | None = None,
        on_round: Callable[[Round], None] | None = None,
    ) -> None:
        self._capabilities = capabilities(header)
        drafts = cast("Mapping[str, Draft]", header.drafts)  # all that is asked of them is their `signals`
        check_fit(policy, self._capabilities, drafts)
        self._policy = policy
        self._guard = PolicyGuard(policy, drafts, fallback=False)
        self._longest = header.longest
        self._sampled = header.mode == "sampled"
        self._scoring = frozenset(name for name, info in header.drafts.items() if info.scores)
        self._prices = prices or Prices(header.costs)
        self._on_round = on_round
        self._costs = LateCosts() if costs is None else costs
        self._now = 0.0

    def play(self, laid: Laid) -> Outcome:
        """Let the policy take its way through one text.

        Raises:
            ContractError: The policy broke the contract of a round.
            TraceError: The policy asked for what was not recorded.
        """
        unkept = Unkept(laid.text.name, laid.prompt_tokens)
        try:
            outcome = self._play(laid, unkept if laid.prompt is None else laid.prompt)
        except ContractError as error:
            # What the recording cannot answer is not the policy's fault, though it came up inside of it.
            if isinstance(error.__cause__, TraceError):
                raise error.__cause__ from None
            raise
        if unkept.read:
            unkept.refuse()
        return outcome

    def _play(self, laid: Laid, prompt: Sequence[int]) -> Outcome:  # noqa: C901, PLR0915 - calls would cost a third more
        text, prices, costs, on_round = laid.text, self._prices, self._costs, self._on_round
        changes = laid.changes
        guard, able, needs = self._guard, self._capabilities, needs_of(self._policy)
        tokens, drafts = laid.tokens, laid.drafts
        end, prompt_tokens, wanted = len(tokens), laid.prompt_tokens, text.wanted
        hinting = [(name, one.hints) for name, one in drafts.items() if one.hints is not None]
        lags = {name: prompt_tokens - 1 if one.caches else 0 for name, one in drafts.items()}
        partly = any(one.known is not None for one in drafts.values())
        perplexity = text.perplexity if requires_of(self._policy).perplexity else None
        output: list[int] = []
        reading = Reading(prompt, output)
        tally = Tally(text, self._longest)
        position = index = 0
        while position < end:
            context = prompt_tokens + position
            budget = wanted - position - 1 if drafts else 0
            hints = {name: known[position] for name, known in hinting}
            if partly and -1 in hints.values():
                raise TraceError(f"the trace does not know what drafts hinted at {position}")
            start = RoundStart(
                index,
                position,
                context,
                budget,
                lags,
                costs,
                able,
                reading,
                hints,
                1,
                perplexity,
            )
            began = now = self._now
            plan = guard.plan(start)
            name = plan.draft
            drafted = accepted = lag = 0
            signals: tuple[TokenSignals, ...] = ()
            draft = None
            if name is not None:
                draft, lag = drafts[name], lags[name]
                if draft.known is not None and plan.gamma > draft.known[position]:
                    draft.unanswered(plan.gamma, position)
                drafted = min(plan.gamma, draft.offered[position])
                if drafted and (plan.stop is not None or (plan.look and needs)):
                    signals = self._watch(plan, draft, position, drafted)
                    if signals:
                        drafted = len(signals)
                        now += prices.look_s[name] * changes.drafts[name][position] * drafted
                accepted = min(drafted, draft.agreed[position])
                now += prices.draft_s(name, drafted, lag) * changes.drafts[name][position]
            drafted_at = now
            verify_s = prices.verify_s(drafted + 1, context) * changes.verify[position]
            now += verify_s + drafted * changes.token_s[position]
            verified_at = now
            after = min(position + accepted + 1, end)
            emitted = after - position
            scores: dict[str, tuple[float, ...]] = {}
            score_s = 0.0
            if plan.score:
                scores = self._scores(plan, laid, position, after)
                if scores:
                    now += self._score_s({one: lags[one] + emitted for one in scores}, laid, after)
                    score_s = now - verified_at
            now += prices.overhead_s
            self._now = now
            fresh = tokens[position:after]
            output.extend(fresh)
            done = finish_round(
                start,
                plan,
                drafted,
                accepted,
                fresh,
                text.ended if after == end else None,
                drafted_at - began,
                verified_at - drafted_at,
                now - began,
                signals,
                scores,
                score_s,
            )
            costs.observe(done)
            tally.add(done)
            guard.observe(done)
            if on_round is not None:
                on_round(done)
            lags = {one: behind + emitted if drafts[one].caches else 0 for one, behind in lags.items()}
            if draft is not None and drafted and draft.caches:
                lags[draft.name] = draft.short if accepted == drafted else 0
            for one in scores:
                lags[one] = 0
            position = after
            index += 1
        return tally.outcome()

    def _watch(self, plan: Plan, draft: LaidDraft, position: int, drafted: int) -> tuple[TokenSignals, ...]:
        """Return the signals of the tokens drafted until the rule or `keep` stops; none if nobody looks."""
        watch = self._guard.watch(plan)
        if watch is None:
            return ()
        row = draft.row(watch.signals, position)
        stop, keep = watch.stop, watch.keep
        for place in range(drafted):
            about = row[place]
            if about is None:
                draft.refuse(watch.signals, position + place)
            if (stop is not None and stop.stops(about)) or (keep is not None and not keep(about)):
                drafted = place + 1
                break
        self._guard.settle()
        return cast("tuple[TokenSignals, ...]", row[:drafted])

    def _scores(self, plan: Plan, laid: Laid, position: int, after: int) -> dict[str, tuple[float, ...]]:
        """Return what the drafts that the plan names would have made of the tokens delivered."""
        asked = sorted((plan.score - {plan.draft}) & self._scoring)
        for name in asked:
            if laid.drafts[name].known is not None:
                laid.drafts[name].unanswered(1, position)
        if asked and self._sampled:
            raise TraceError(
                f"the policy asks {', '.join(asked)} for the chances of tokens that others proposed, which a recording "
                "of drawn texts does not hold; record greedily, at temperature 0"
            )
        return {
            name: tuple([1.0 if agreed else 0.0 for agreed in laid.drafts[name].agreed[position:after]])
            for name in asked
        }

    def _score_s(self, reads: Mapping[str, int], laid: Laid, after: int) -> float:
        """Return the seconds in which drafts read so many tokens each, with the price of the place after them."""
        place = min(after, len(laid.tokens) - 1)
        return sum(
            self._prices.score_s({name: tokens}) * laid.changes.drafts[name][place]
            for name, tokens in reads.items()
        )
