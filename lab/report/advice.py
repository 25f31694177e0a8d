"""What tuning found, as a paragraph and as a run file."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import yaml

from paceline.lab.report.words import interval, times
from paceline.lab.validation import LARGEST_MISS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paceline.lab.intervals import Ratio
    from paceline.lab.report.tuning import Choice

WIDTH = 98


def paragraph(choice: Choice) -> str:
    """Return which policy to use, why, with which interval and against what."""
    split = (
        f"Chosen among {choice.policies} policies"
        + (f" and {choice.variations} of the best with other options" if choice.variations else "")
        + f" on {choice.tuning} texts, and judged on {choice.judging} others."
    )
    if choice.why == "plain":
        return (
            f"Decode plainly. On the judging texts the fastest policy is {_ratio(choice.speedup)} plain decoding, so "
            f"drafting does not pay here. {split} If texts will differ, the policy `gate` tries drafting now and then, "
            "at little cost."
        )
    if choice.why == "noise":
        small = choice.gain.low is not None and choice.gain.low > 1.0
        doubt = "less than what the replay is off by" if small else "which may be chance"
        reason = (
            f"On the tuning texts {choice.fastest} is fastest, but on the judging texts it is {_ratio(choice.gain)} "
            f"{choice.simplest}, {doubt}, so the simpler choice is better."
        )
    elif choice.fastest == choice.simplest:
        reason = "It is the fastest on the tuning texts, too."
    else:
        reason = f"It is {_ratio(choice.gain)} {choice.simplest}, the simplest choice."
    over = (
        f" and {_ratio(choice.over_static)} {choice.best_static}, the best static gamma of the tuning texts"
        if choice.over_static is not None
        else ""
    )
    unsure = (
        " These texts are too few to be sure that it is faster than plain decoding at all."
        if choice.speedup.low is not None and choice.speedup.low <= 1.0
        else ""
    )
    off = (
        f" Replay and measurement differ by up to {choice.miss:.0%}; try it on your machine before you rely on it."
        if choice.miss is not None and choice.miss > LARGEST_MISS
        else ""
    )
    return (
        f"Use {choice.label}. On texts it was not chosen on it is {_ratio(choice.speedup)} plain decoding{over}. "
        f"{reason}{unsure} {split}{off}"
    )


def _ratio(estimate: Ratio) -> str:
    between = interval(estimate)
    return f"{times(estimate)} ({between})" if between else times(estimate)


def run_file(choice: Choice, *, origin: str, base: Mapping[str, Any] | None = None) -> str:
    """Return the YAML of a run with the choice; `base` holds the other blocks of the run, such as its models."""
    said = textwrap.wrap(
        f"Written by `paceline tune` from {origin}. {paragraph(choice)}", WIDTH, break_on_hyphens=False
    )
    values = {**(base or {}), "policy": dict(choice.policy)}
    body = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, default_flow_style=False)
    return "".join(f"# {line}\n" for line in said) + body
