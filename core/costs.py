"""Cost models: a fixed table, and one that learns from every round while text is generated.

What is modelled, in seconds: drafting (a per token, after Definition 1 of the ACL 2025 paper), catching up of a
draft that lags, and verification as a function of block length and context, b(length, context).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from math import exp, log
from typing import TYPE_CHECKING, Any

from paceline.core.batch_costs import BatchCosts
from paceline.core.price import CATCH_UP, PRIOR_DRAFT_SHARE, RECENT, Price, keep, kept_numbers
from paceline.core.verify_times import TINY, VerifyTimes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.core.records import Round

RIDGE = 4.0
"""That share counts as one round that lagged by so many tokens."""

FADING = 0.9
"""Weight of earlier rounds in the catch-up share, once per round that lagged."""


@dataclass(frozen=True)
class CostTable:
    """Costs that never change, as measured elsewhere or made up.

    Attributes:
        verify: Seconds by block length; between lengths a straight line, beyond the last one its last slope.
        draft: Seconds a token, by draft.
        catch_up: Seconds a lagging token, by draft; missing means free.
        context: Seconds of verification added by each token of context.
    """

    verify: Mapping[int, float]
    draft: Mapping[str, float] = field(default_factory=dict)
    catch_up: Mapping[str, float] = field(default_factory=dict)
    context: float = 0.0

    def __post_init__(self) -> None:
        if not self.verify or min(self.verify) < 1:
            raise ValueError("a CostTable needs the verify time of at least one block length >= 1")

    def draft_s(self, draft: str, gamma: int, lag: int = 0) -> float:
        """Return the seconds to draft `gamma` tokens after catching up on `lag`."""
        return gamma * self.draft[draft] + lag * self.catch_up.get(draft, 0.0)

    def verify_s(self, length: int, context: int) -> float:
        """Return the seconds to verify `length` tokens after `context` tokens."""
        lengths = sorted(self.verify)
        flat = context * self.context
        if length in self.verify or len(lengths) == 1:
            return self.verify.get(length, self.verify[lengths[0]]) + flat
        high = min(max(bisect_left(lengths, length), 1), len(lengths) - 1)
        x0, x1 = lengths[high - 1], lengths[high]
        slope = (self.verify[x1] - self.verify[x0]) / (x1 - x0)
        return max(0.0, self.verify[x0] + slope * (length - x0)) + flat


VERSION = 1


class LiveCosts:
    """A cost model that learns from finished rounds; never knows more than the rounds it was shown.

    Timings are noisy, the first ones are slow, and machines change while they are used. Verification is learnt by
    `paceline.core.verify_times`, which follows the machine's speed; a draft's price is learnt as a multiple of that
    speed, so that what is not in use moves with what is. Until anything is known a plain step costs 1 and a draft token
    a tenth of it: policies compare costs, so the unit does not matter.

    Attributes:
        batch: Costs of passes that several requests share, which are learnt by themselves.
    """

    def __init__(self) -> None:
        self.batch = BatchCosts()
        self._verify = VerifyTimes()
        self._drafts: dict[str, _DraftPrice] = {}
        self._count = 0
        self._trees: VerifyTimes | None = None
        self._levels: dict[str, _DraftPrice] = {}  # of trees
        self._tables: dict[str, tuple[Sequence[float], float, Sequence[float]]] = {}

    def draft_s(self, draft: str, gamma: int, lag: int = 0) -> float:
        """Return the expected seconds to draft `gamma` tokens, first catching up on `lag` tokens.

        One lagging token is free: it is read together with the last token of the context.
        """
        token_s, share = self._token(draft)
        return (gamma + (share * lag if lag > 1 else 0.0)) * token_s

    def verify_s(self, length: int, context: int) -> float:
        """Return the expected seconds to verify `length` tokens after `context` tokens."""
        return self._verify.at(length, context)

    def round_s(self, draft: str, longest: int, context: int) -> tuple[Sequence[float], float]:
        """Return the expected seconds of rounds of 0, 1, ..., `longest` tokens: see `Tabulated`."""
        token_s, _ = self._token(draft)
        levels, context_s = self._verify.up_to(longest + 1, context)
        known = self._tables.get(draft)
        if known is None or known[0] is not levels or known[1] != token_s:
            known = levels, token_s, [gamma * token_s + level for gamma, level in enumerate(levels)]
            self._tables[draft] = known
        return known[2], context_s

    def age(self, length: int) -> float:
        """Return the rounds since a block of `length` was timed, or infinity: see `Dated`."""
        return self._verify.age(length)

    def draft_tree_s(self, draft: str, depth: int) -> float:
        """Return the expected seconds to draft a tree of a depth: see `TreePriced`."""
        price = self._levels.get(draft)
        if self._trees is None or price is None:
            return self.draft_s(draft, depth)
        return depth * exp(price.at(self._count, price.log)) * self._trees.speed

    def verify_tree_s(self, nodes: int, context: int) -> float:
        """Return the expected seconds to verify a tree of so many tokens: see `TreePriced`."""
        return (self._trees or self._verify).at(nodes + 1, context)

    def observe(self, done: Round) -> None:
        """Learn from the times of a finished round; a round that was ended took its full time all the same."""
        if done.tree is not None and done.plan.draft is not None:
            self._learn_tree(done, done.plan.draft)
            return
        self._learn(done.plan.draft, done.drafted, done.lag, done.context, done.draft_s, done.verify_s)

    def state_dict(self) -> dict[str, Any]:
        """Return the prices as JSON-able values, in seconds as the machine is now."""
        speed = log(self._verify.speed)
        drafts = {
            name: keep(price.log + speed, price.catch_up, price.timings)
            for name, price in sorted(self._drafts.items())
            if price.timings
        }
        state = {"version": VERSION, "verify": self._verify.save(), "drafts": drafts}
        return {**state, "batch": shared} if (shared := self.batch.save()) else state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Start from prices that were kept; rounds correct them as they correct what was measured a while ago.

        Raises:
            ValueError: They are damaged or of another version; nothing is changed.
        """
        saved = state.get("drafts")
        version = state.get("version")
        if version != VERSION or isinstance(version, bool) or not isinstance(saved, dict):
            raise ValueError(f"the saved costs are damaged or not of version {VERSION}")
        drafts = {}
        for name, values in saved.items():
            log_s, share, timings = kept_numbers(values, 3)
            drafts[str(name)] = price = _DraftPrice()
            price.start(log_s, int(timings))
            price.keep_share(min(share, 1.0))
            price.timings = int(max(timings, 2))
        verify, batch = VerifyTimes(), BatchCosts()
        verify.load(state.get("verify"))
        if "batch" in state:
            batch.load(state["batch"])
        self.batch = batch
        self._verify, self._drafts, self._tables, self._count = verify, drafts, {}, 0

    def _learn_tree(self, done: Round, draft: str) -> None:
        """Learn what a round of a tree took, from where the prices of chains stand, and leave those alone."""
        self._count += 1
        if self._trees is None:
            self._trees = deepcopy(self._verify)
        self._trees.add(done.nodes + 1, done.context, done.verify_s, None)
        if done.drafted:
            price = self._levels.setdefault(draft, _DraftPrice())
            price.observe(done.drafted, done.lag, done.draft_s / self._trees.speed, self._count)

    def _learn(
        self, draft: str | None, drafted: int, lag: int, context: int, draft_s: float, verify_s: float
    ) -> None:
        self._count += 1
        if self._trees is not None and not drafted:
            self._trees.add(1, context, verify_s, None)
        price = self._drafts.setdefault(draft, _DraftPrice()) if draft is not None and drafted else None
        draft_off = (
            None if price is None else price.off(drafted, lag, draft_s / self._verify.speed, self._count)
        )
        jump = self._verify.add(drafted + 1, context, verify_s, draft_off)
        if price is None:
            return
        if jump:
            price.rebase(jump, self._count)
        price.observe(drafted, lag, draft_s / self._verify.speed, self._count)

    def _token(self, draft: str) -> tuple[float, float]:
        price, speed = self._drafts.get(draft), self._verify.speed
        assumed_s = PRIOR_DRAFT_SHARE * self._verify.at(1, 0)
        if price is None or not price.timings:
            return assumed_s, CATCH_UP
        return exp(price.at(self._count, log(max(assumed_s / speed, TINY)))) * speed, price.catch_up


class _DraftPrice(Price):
    """The price of a token of one draft, and what is known of it when it lags.

    A draft in use is timed every round. A draft that rests cannot be, and when it is tried again its cache lags:

        seconds = rate * (drafted + catch_up * lag),      0 <= catch_up <= 1.

    `catch_up` is learnt where the rate is known from a round without a lag shortly before or after. Even where it is
    not, the round bounds the rate from both sides: seconds / (drafted + lag) <= rate <= seconds / drafted.
    """

    __slots__ = ("_clean_at", "_waiting", "_xx", "_xy", "timings")

    def __init__(self) -> None:
        super().__init__()
        self.timings = 0
        self._clean_at = -RECENT
        self._waiting: tuple[int, int, float] | None = None  # a round that lagged, until the rate is known
        self._xx = RIDGE * RIDGE
        self._xy = CATCH_UP * self._xx

    @property
    def catch_up(self) -> float:
        """The price of a lagging token, as a share of a drafted one."""
        return self._xy / self._xx

    def keep_share(self, share: float) -> None:
        """Start from a share that was kept."""
        self._xx = (2.0 * RIDGE) ** 2
        self._xy = share * self._xx

    def off(self, drafted: int, lag: int, seconds: float, now: int) -> float | None:
        """Return log(measured / expected) of a round, where enough is known to expect anything."""
        if self.timings < 2 or lag > 1 or seconds <= TINY or now - self.seen_at > RECENT:
            return None
        return log(seconds / drafted) - self.log

    def rebase(self, jump: float, now: int) -> None:
        """Take the machine's jump out of what was set aside, and of a jump that was the same one, seen sooner."""
        self.odd = [off - jump for off in self.odd]
        if now - self.jumped_at < RECENT and abs(self.jumped - jump) <= self.bound:
            self.log -= jump
            self.jumped = 0.0

    def observe(self, drafted: int, lag: int, seconds: float, now: int) -> None:
        """Learn from a round that drafted `drafted` >= 1 tokens after catching up on `lag`."""
        if seconds <= TINY:
            return
        rested = now - self.seen_at > RECENT
        if lag > 1:
            self._lagging(drafted, lag, seconds, now, rested=rested)
            return
        self._take(log(seconds / drafted), now, rested=rested)
        self._clean_at = now
        if self._waiting is not None:
            self._learn_share(*self._waiting)

    def _take(self, level: float, now: int, *, rested: bool) -> None:
        self.timings += 1
        off = level - self.log
        if self.timings <= 2:  # the first timing is slow, and forgotten as soon as there is a second
            self.log, self.count, self.seen_at = level, self.timings, now
        elif rested:
            self.renew(off, now)
        elif abs(off) <= self.bound:
            self.follow(off, now)
        else:
            self.seen_at = now
            jump = self.set_aside(off)
            if jump is not None:
                self.jump(jump, now)

    def _lagging(self, drafted: int, lag: int, seconds: float, now: int, *, rested: bool) -> None:
        low, high = log(seconds / (drafted + lag)), log(seconds / drafted)
        # Where the share was never measured, the rate is the better known of the two.
        sure = self.timings > 1 and (now - self._clean_at <= RECENT or self._xx == RIDGE * RIDGE)
        if sure and low - self.bound <= self.log <= high + self.bound:
            self._learn_share(drafted, lag, seconds)
            self.seen_at = now
            return
        level = min(max(log(seconds / (drafted + self.catch_up * lag)), low), high)
        if self.timings:
            self._take(level, now, rested=rested)
        else:
            self.timings, self.log, self.seen_at = 1, level, now
        self._waiting = (drafted, lag, seconds)

    def _learn_share(self, drafted: int, lag: int, seconds: float) -> None:
        """Fit the share by least squares over rounds that fade; long lags tell the most."""
        self._waiting = None
        share = min(max((seconds / exp(self.log) - drafted) / lag, 0.0), 1.0)
        weight = float(min(lag, 256)) ** 2
        self._xx = FADING * self._xx + weight
        self._xy = FADING * self._xy + weight * share
