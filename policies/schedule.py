"""Gamma from a table by batch size and context length: what was measured beforehand, put into rows.

The same thing as vLLM's option `num_speculative_tokens_per_batch_size`
(https://github.com/vllm-project/vllm/pull/32374), whose entry [lo, hi, K] is the row {batch: [lo, hi], gamma: K},
with the axis of context that vLLM's entries of five numbers have. As there, ranges are inclusive, batches between
two ranges and above the last one keep the row before them, K may be 0, and the first range starts at 1, so that
every round has a row.

Row i applies to batch B and context C if its batch range is the last one that starts at or below B, and among the
rows of that range its context range is the last one that starts at or below C. Ours: a range may end in `null`,
which is without end; contexts may have gaps too; batch ranges need not be divided at the same contexts; and the
default table, which halves gamma about where SGLang's defaults change to shorter drafts
(https://github.com/sgl-project/sglang/pull/21599). vLLM has no default, since the best table depends on hardware
and text; measure your own.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field

from paceline.core.base_policy import BasePolicy
from paceline.core.config.blocks import PolicyConfig, Strict
from paceline.core.records import Plan, Requirements
from paceline.core.state.declared import PolicyState
from paceline.policies.options import DraftName, chosen_draft

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paceline.core.records import RoundStart


def _forwards(span: tuple[int, int | None]) -> tuple[int, int | None]:
    if span[1] is not None and span[1] < span[0]:
        raise ValueError(
            f"found the range {list(span)}, which ends before it starts; write [{span[1]}, {span[0]}]"
        )
    return span


Span = Annotated[
    tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)] | None], AfterValidator(_forwards)
]
"""First and last number of a range, both of them in it; None is without end."""


class Row(Strict):
    """Gammas in a range of batch sizes and of context lengths."""

    batch: Span = Field(default=(1, None), description="First and last batch size; null is without end.")
    context: Span = Field(
        default=(1, None), description="First and last context length; null is without end."
    )
    gamma: int = Field(ge=0, description="Draft tokens per round; 0 is plain decoding.")


def _in_order(table: tuple[Row, ...]) -> tuple[Row, ...]:
    for problem in _problems(table):
        raise ValueError(problem)
    return table


def _problems(table: tuple[Row, ...]) -> Iterator[str]:
    """Yield a sentence for whatever keeps a table from giving every round exactly one row."""
    if table[0].batch[0] != 1:
        yield f"row 0 starts at batch {table[0].batch[0]}; start at 1, so that every batch has a row"
    for index, row in enumerate(table):
        before = table[index - 1] if index else None
        if before is None or before.batch != row.batch:
            if row.context[0] != 1:
                yield (
                    f"row {index} is the first one of its batches and starts at context {row.context[0]}; "
                    "start at 1, so that every context has a row"
                )
            axis = "batch"
        else:
            axis = "context"
        if before is None:
            continue
        old, new = getattr(before, axis), getattr(row, axis)
        if old[1] is None or new[0] <= old[1]:
            what = "comes before" if new[0] < old[0] else "overlaps"
            yield (
                f"row {index}, {axis} {_shown(new)}, {what} row {index - 1}, {axis} {_shown(old)}; sort the rows by "
                "batch, then by context, and let each range start after the one before ends"
            )


def _shown(span: tuple[int, int | None]) -> str:
    return f"[{span[0]}, {'null' if span[1] is None else span[1]}]"


def _default_table() -> Any:
    return [
        {"batch": [1, 7], "gamma": 4},
        {"batch": [8, 31], "gamma": 2},
        {"batch": [32, 63], "gamma": 1},
        {"batch": [64, None], "gamma": 0},
    ]


class ScheduleConfig(PolicyConfig):
    """Look gamma up in a table by batch size and context length."""

    name: Literal["schedule"] = "schedule"
    table: Annotated[tuple[Row, ...], Field(min_length=1), AfterValidator(_in_order)] = Field(
        default_factory=_default_table,
        description="Rows {batch: [first, last], context: [first, last], gamma}, sorted; what lies between two "
        "ranges keeps the row before. Left out, a range holds everything.",
    )
    draft: DraftName = None

    def build(self, seed: int = 0) -> SchedulePolicy:
        """Return a fresh policy."""
        return SchedulePolicy(self)


class SchedulePolicy(BasePolicy[PolicyState]):
    """Plans what the table says, or what the budget leaves; of an engine's fixed set the next smaller gamma."""

    def __init__(self, config: ScheduleConfig) -> None:
        super().__init__("schedule", PolicyState())
        self._draft = config.draft
        self._batches: list[int] = []
        self._rows: list[tuple[list[int], list[int]]] = []  # for each range of batches: contexts, gammas
        for row in config.table:
            if not self._batches or self._batches[-1] != row.batch[0]:
                self._batches.append(row.batch[0])
                self._rows.append(([], []))
            contexts, gammas = self._rows[-1]
            contexts.append(row.context[0])
            gammas.append(row.gamma)
        self.requires = Requirements(zero_gamma=any(row.gamma == 0 for row in config.table))

    def plan(self, start: RoundStart) -> Plan:
        """Look up gamma; nothing is carried over from round to round."""
        contexts, gammas = self._rows[max(bisect_right(self._batches, start.batch) - 1, 0)]
        listed = gammas[max(bisect_right(contexts, start.context) - 1, 0)]
        gamma = start.gammas(listed)[-1]
        return Plan(gamma, chosen_draft(start, self._draft) if gamma else None)
