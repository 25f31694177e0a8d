"""Costs where several requests share their passes: what a pass takes by how many they are, and how many its tokens.

For a number of requests R, verification is learnt as for a single request (`paceline.core.verify_times`), of a "block"
whose length is 1 for the token that each request gets without drafting, and 1 more for each draft token of the pass:

    verification(R, draft tokens d) = level_R(1 + d) + slope_R * (tokens of context of all)

A number of requests that was not timed yet starts from what is known of the nearest one. Where all draft from the
beginning, plain decoding is never timed, and a line through long blocks says little of it; but a pass takes no more
than in proportion to its tokens, so that a plain one takes at least its part of what the last one took. A draft that
drafts for several at once takes a pass for each step, so that of a drafting with n steps and t tokens

    seconds = a n + b t,

where a token that a draft must catch up on counts as a small part of one (`CATCH_UP`). That a pass costs something for
itself and something for each token is how serving engines price theirs, as SmartSpec does (Liu et al. 2024,
https://arxiv.org/abs/2406.14066, section 4.2), from a profile made beforehand; here both are learnt while decoding.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from paceline.core.price import CATCH_UP, MOST_COUNT, PRIOR_DRAFT_SHARE, kept_number
from paceline.core.verify_times import LENGTH, TINY, VerifyTimes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

FADING = 0.95
"""Weight of earlier draftings, for each further one."""

RIDGE = 0.01
"""Weight of what is assumed of a draft, as a share of what was seen: it decides where only a sum shows."""

MARGINAL = 0.1
"""A further token costs a draft's pass this share of the pass until it was measured."""

ODD = 3.0
"""Draftings that take so many times what is expected are stalls, but for the first ones."""

YOUNG = 4
"""Draftings of a draft until any is taken for a stall."""


@dataclass(slots=True)
class DraftTimes:
    """Seconds of a step and of a token, of a draft that drafts for several requests at once: least squares that fade.

    Attributes:
        assumed_s: Of a step until it is known.
    """

    assumed_s: float
    count: int = 0
    _ss: float = 0.0
    _st: float = 0.0
    _tt: float = 0.0
    _sy: float = 0.0
    _ty: float = 0.0

    def observe(self, steps: int, tokens: float, seconds: float) -> None:
        """Learn from a drafting of so many steps, and tokens in all of them."""
        step_s, token_s = self.prices()
        self.count += 1
        if self.count > YOUNG:
            seconds = min(seconds, ODD * (steps * step_s + tokens * token_s))
        elif self.count == 2:  # the first drafting is slow
            self._ss = self._st = self._tt = self._sy = self._ty = 0.0
        self._ss = FADING * self._ss + steps * steps
        self._st = FADING * self._st + steps * tokens
        self._tt = FADING * self._tt + tokens * tokens
        self._sy = FADING * self._sy + steps * seconds
        self._ty = FADING * self._ty + tokens * seconds

    def prices(self) -> tuple[float, float]:
        """Return the seconds of a step, and of a token."""
        if not self._ss:
            return (0.0, self._ty / self._tt) if self._tt else (self.assumed_s, MARGINAL * self.assumed_s)
        # Where all draft alike, round after round, only the sum shows; the split is then the assumed one.
        scale = self._sy / (self._ss + MARGINAL * self._st)
        ridge = RIDGE * self._ss
        ss, tt = self._ss + ridge, self._tt + ridge
        sy, ty = self._sy + ridge * scale, self._ty + ridge * MARGINAL * scale
        rest = ss * tt - self._st * self._st
        if rest <= 0.0:
            return scale, MARGINAL * scale
        step_s, token_s = (sy * tt - ty * self._st) / rest, (ty * ss - sy * self._st) / rest
        if token_s < 0.0:
            return self._sy / max(self._ss, TINY), 0.0
        if step_s < 0.0:
            return 0.0, self._ty / max(self._tt, TINY)
        return step_s, token_s

    def save(self) -> list[float]:
        """Return what is known as JSON-able values."""
        sums = (self.assumed_s, self.count, self._ss, self._st, self._tt, self._sy, self._ty)
        return [min(each, MOST_COUNT) for each in sums]

    @classmethod
    def of(cls, saved: object) -> DraftTimes:
        """Return what `save` gave.

        Raises:
            ValueError: It is damaged.
        """
        if not isinstance(saved, list) or len(saved) != 7:
            raise ValueError(f"the saved costs are damaged: {saved!r} are not 7 numbers")
        assumed_s, count, *sums = (kept_number(each, 0.0, MOST_COUNT) for each in saved)
        return cls(assumed_s, int(count), *sums)


class BatchCosts:
    """A cost model of passes that several requests share; it learns from every round that they take together."""

    def __init__(self) -> None:
        self._verify: dict[int, VerifyTimes] = {}
        self._drafts: dict[str, DraftTimes] = {}
        self._least_s: dict[int, float] = {}

    def save(self) -> dict[str, Any]:
        """Return what is known as JSON-able values; nothing where no passes were shared."""
        if not self._least_s:
            return {}
        rows = {
            str(rows): {**self._verify[rows].save(), "least": least_s}
            for rows, least_s in sorted(self._least_s.items())
        }
        return {
            "rows": rows,
            "drafts": {name: times.save() for name, times in sorted(self._drafts.items()) if times.count},
        }

    def load(self, saved: object) -> None:
        """Start from what `save` gave.

        Raises:
            ValueError: It is damaged; nothing is changed.
        """
        rows, drafts = (saved.get(name) if isinstance(saved, dict) else None for name in ("rows", "drafts"))
        if not isinstance(rows, dict) or not isinstance(drafts, dict):
            raise ValueError("the saved costs are damaged: batch is not a mapping of rows and drafts")  # noqa: TRY004 - callers are promised ValueError
        verify: dict[int, VerifyTimes] = {}
        least_s: dict[int, float] = {}
        for key, values in rows.items():
            if not (isinstance(key, str) and LENGTH.fullmatch(key)):
                raise ValueError(f"the saved costs are damaged: {str(key)[:20]!r} is no number of rows")
            times = verify[int(key)] = VerifyTimes()
            times.load(values)
            least_s[int(key)] = kept_number(values.get("least"), 0.0, MOST_COUNT)
        known = {str(name): DraftTimes.of(values) for name, values in drafts.items()}
        self._verify, self._drafts, self._least_s = verify, known, least_s

    def share(self, rows: int, context: int) -> RowCosts:
        """Return what a round costs one of `rows` requests with so many tokens of context in all."""
        return RowCosts(self, rows, context)

    def verify_times(self, rows: int) -> VerifyTimes:
        """Return what is known of verification where so many requests share it."""
        times = self._verify.get(rows)
        if times is None:
            times = self._verify[rows] = VerifyTimes()
            if others := [other for other in self._verify if other != rows]:
                times.load(self._verify[min(others, key=lambda other: abs(other - rows))].save())
        return times

    def least_s(self, rows: int) -> float:
        """Return what a pass of so many requests takes at least."""
        return (
            self._least_s[min(self._least_s, key=lambda other: abs(other - rows))] if self._least_s else 0.0
        )

    def draft_times(self, draft: str, rows: int) -> DraftTimes:
        """Return what is known of drafting."""
        times = self._drafts.get(draft)
        if times is None:
            plain_s = self.verify_times(rows).at(1, 0)
            times = self._drafts[draft] = DraftTimes(PRIOR_DRAFT_SHARE * plain_s)
        return times

    def observe_drafting(
        self, draft: str, rows: int, steps: int, tokens: int, lag: int, seconds: float
    ) -> None:
        """Learn from a drafting for several of `rows` requests: its steps, and tokens and lag of all.

        A draft that is asked for one request after the other has no steps.
        """
        if tokens and seconds > TINY:
            self.draft_times(draft, rows).observe(steps, tokens + CATCH_UP * lag, seconds)

    def observe_verification(self, rows: int, drafted: int, context: int, seconds: float) -> None:
        """Learn from a verification of so many draft tokens of `rows` requests."""
        self.verify_times(rows).add(drafted + 1, context, seconds)
        part_s = seconds * rows / (rows + drafted)
        self._least_s[rows] = min(part_s, 2.0 * self._least_s.get(rows, part_s))  # a stall says little


@dataclass(slots=True)
class RowCosts:
    """Costs of a round as a policy of one of several requests sees them.

    A round costs a request its part of the pass that there is anyway, and all that its own draft tokens add to it. So a
    draft token pays exactly where it adds more tokens per second than plain decoding of all has.

    Attributes:
        batch: The cost model of the passes.
        rows: Requests that share them.
        context: Tokens of context of all.
    """

    batch: BatchCosts
    rows: int
    context: int
    _times: VerifyTimes = field(init=False)
    _least_s: float = field(init=False)

    def __post_init__(self) -> None:
        self._times = self.batch.verify_times(self.rows)
        # What was timed is believed.
        self._least_s = self.batch.least_s(self.rows) if self._times.age(1) == inf else 0.0

    def verify_s(self, length: int, context: int) -> float:
        """Return the expected seconds to verify `length` tokens, beside the single tokens of the others."""
        del context  # that of all is known
        levels, context_s = self.pass_s(length - 1)
        return (levels[0] + context_s) / self.rows + levels[length - 1] - levels[0]

    def draft_s(self, draft: str, gamma: int, lag: int = 0) -> float:
        """Return the expected seconds to draft `gamma` tokens, where the others draft as well."""
        step_s, token_s = self.batch.draft_times(draft, self.rows).prices()
        return gamma * (step_s / self.rows + token_s) + (CATCH_UP * token_s * lag if lag > 1 else 0.0)

    def age(self, length: int) -> float:
        """Return the rounds since a block of `length` tokens was timed, or infinity: see `Dated`."""
        return self._times.age(length)

    def pass_s(self, drafted: int) -> tuple[Sequence[float], float]:
        """Return the seconds of a verification of 0, 1, ..., `drafted` tokens or more: see `BatchPriced`."""
        levels, context_s = self._times.up_to(drafted + 1, self.context)
        least_s = self._least_s - context_s
        if levels[0] < least_s:
            levels = [max(level, least_s) for level in levels]
        return levels, context_s

    def draft_pass_s(self, draft: str) -> tuple[float, float]:
        """Return the seconds of a step of a draft, and of each token in it: see `BatchPriced`."""
        return self.batch.draft_times(draft, self.rows).prices()
