"""The lines of a recording: JSON objects, one a line, each with its kind.

    trace       the first line: version, form, what ran, and what holds for all texts
    timings     rounds that were really taken on a text, and how long they took; what latency profiles are made of
    measured    one text really decoded under one policy
    costs       a latency profile; may come again, the last one counts
    text        one text, with what every draft would have done to it, and how its costs differ from the profile if
                they do; what belongs to it comes before
    end         the last line, with how many texts there are

Lines of other kinds, and keys that are not known, are passed over: newer writers may add some. Every line carries a
checksum, see `paceline.lab.json_lines`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final, Literal, get_args

from paceline.core.errors import TraceError
from paceline.core.records import SIGNALS, Ended
from paceline.lab.json_lines import LARGEST_TOKEN, check_counts, check_types
from paceline.lab.recording.format_texts import (
    changes_from_json,
    changes_to_json,
    starts_from_json,
    starts_to_json,
)
from paceline.lab.recording.latency import LatencyProfile
from paceline.lab.recording.model import DraftInfo, Header, Measured, Text

FORM: Final = "recording"

VERSION: Final = 2
"""Raised when a reader of the old version would misread a new recording; new keys alone do not raise it."""

LONGEST, NUMBERS = 1 << 10, 1 << 25
"""Bounds of the largest gamma, and of tokens times gammas of a text: a few lines could ask for any amount of memory."""

MALFORMED: Final = (KeyError, TypeError, ValueError, AttributeError, OverflowError)
"""Exceptions from reading a line that is not as it should be; `json.JSONDecodeError` is a ValueError."""


def header_to_json(header: Header) -> dict[str, Any]:
    """Return the first line; the latency profile has a line of its own."""
    return {
        "kind": "trace",
        "version": VERSION,
        "form": FORM,
        "run": dict(header.run),
        "longest": header.longest,
        "mode": header.mode,
        "made_up": header.made_up,
        "drafts": {
            name: {
                "caches": info.caches,
                "short": info.short,
                "signals": sorted(info.signals),
                "hints": info.match_lengths,
                "scores": info.scores,
                **({"choices": info.choices} if info.choices else {}),
            }
            for name, info in header.drafts.items()
        },
    }


def header_from_json(values: Mapping[str, Any], costs: LatencyProfile) -> Header:
    """Return the header that the first line stands for."""
    mode: Literal["greedy", "sampled"] = values["mode"]
    longest = values["longest"]
    if mode not in {"greedy", "sampled"} or type(longest) is not int or not 1 <= longest <= LONGEST:
        raise ValueError(f"mode {mode!r}, longest {longest!r}")
    drafts = {name: _info(info) for name, info in values["drafts"].items()}
    return Header(values["run"], longest, mode, drafts, costs, bool(values.get("made_up", False)))


def check_first(first: object, where: str) -> None:
    """Refuse a first line that is not that of a recording this version reads.

    Raises:
        TraceError: Says what it is instead, and what can be done with it.
    """
    if not isinstance(first, Mapping) or first.get("kind") != "trace" or "version" not in first:
        replayed = isinstance(first, Mapping) and first.get("kind") == "results"
        what = "what a replay found, which `paceline report` shows" if replayed else "no recording"
        raise TraceError(f"{where}: this is {what}; give a recording, which `paceline record` makes")
    if first.get("form") != FORM:
        raise TraceError(
            f"{where}: this trace holds rounds as they were decided, not what every draft would have done; "
            "make a recording with `paceline record`"
        )
    if first["version"] != VERSION:
        raise TraceError(
            f"{where}: trace version {first['version']!r}; this paceline reads version {VERSION}"
        )


def text_to_json(text: Text, longest: int) -> dict[str, Any]:
    """Return one text as a line."""
    return {
        "kind": "text",
        "name": text.name,
        "of": text.kind,
        "prompt_sha256": text.prompt_sha256,
        "prompt_tokens": text.prompt_tokens,
        **({} if text.prompt is None else {"prompt": list(text.prompt)}),
        "wanted": text.max_new_tokens,
        "tokens": list(text.tokens),
        "ended": text.ended,
        "varies": text.varies,
        "perplexity": text.perplexity,
        "drafts": {name: starts_to_json(starts, longest) for name, starts in text.drafts.items()},
        **({} if text.changes is None else {"changes": changes_to_json(text.changes)}),
    }


def text_from_json(values: Mapping[str, Any], header: Header) -> Text:
    """Return the text that a line stands for."""
    check_types(values, name=str, of=str, prompt_sha256=str, prompt_tokens=int, wanted=int, varies=bool)
    if values["perplexity"] is not None:
        check_types(values, perplexity=float)
    tokens = tuple(values["tokens"])
    check_counts((*tokens, *values.get("prompt", ())), "tokens", most=LARGEST_TOKEN)
    if not tokens or values["ended"] not in get_args(Ended):
        raise ValueError(f"{len(tokens)} tokens, ended {values['ended']!r}")
    if len(tokens) * header.longest > NUMBERS:
        raise ValueError(f"{len(tokens)} tokens with gammas up to {header.longest} are more than is read")
    missing = header.drafts.keys() - values["drafts"].keys()
    if missing:
        raise ValueError(f"nothing is said about the draft {min(missing)!r}")
    return Text(
        name=values["name"],
        kind=values["of"],
        prompt_sha256=values["prompt_sha256"],
        prompt_tokens=values["prompt_tokens"],
        prompt=tuple(values["prompt"]) if "prompt" in values else None,
        max_new_tokens=values["wanted"],
        tokens=tokens,
        ended=values["ended"],
        varies=values["varies"],
        perplexity=values["perplexity"],
        drafts={
            name: starts_from_json(values["drafts"][name], len(tokens), header.longest)
            for name in header.drafts
        },
        changes=changes_from_json(values["changes"], len(tokens)) if "changes" in values else None,
    )


def measured_to_json(measured: Measured) -> dict[str, Any]:
    """Return one measured text as a line."""
    return {"kind": "measured", **asdict(measured), "policy": dict(measured.policy)}


def measured_from_json(values: Mapping[str, Any]) -> Measured:
    """Return the measured text that a line stands for."""
    check_types(values, text=str, tokens=int, rounds=int, seconds=float)
    return Measured(
        policy=dict(values["policy"]),
        text=values["text"],
        tokens=int(values["tokens"]),
        rounds=int(values["rounds"]),
        seconds=float(values["seconds"]),
        part=int(values.get("part", 0)),
    )


def costs_to_json(costs: LatencyProfile) -> dict[str, Any]:
    """Return a latency profile as a line."""
    return {"kind": "costs", **costs.to_json()}


def _info(values: Mapping[str, Any]) -> DraftInfo:
    return DraftInfo(
        caches=bool(values["caches"]),
        short=int(values["short"]),
        signals=frozenset(values["signals"]) & SIGNALS,
        match_lengths=bool(values["hints"]),
        scores=bool(values["scores"]),
        choices=int(values.get("choices", 0)),
    )
