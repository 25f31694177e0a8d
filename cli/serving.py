"""`replay` of a serving trace: whether its decisions are taken again, and what it knows about other policies."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from paceline.core.errors import ConfigError, PacelineError
from paceline.core.members import needs_of, requires_of
from paceline.core.plugins.building import build_policy
from paceline.lab.policies import parse_policy
from paceline.lab.replay.choosing import EVERYTHING
from paceline.lab.replay.partly import coverage, partly_recorded
from paceline.lab.replay.serving import check

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from paceline.core.plugins.catalogue import Catalogue
    from paceline.lab.replay.partly import Coverage
    from paceline.lab.replay.serving import Checked


def checked(path: Path, catalogue: Catalogue, names: Sequence[str], *, as_json: bool) -> int:
    """Check a trace, try other policies on it as far as it knows, print both, and return the exit code.

    Raises:
        ConfigError: There is no such policy.
        TraceError: The trace is damaged or says too little.
    """
    found = check(path, catalogue)
    others, left_out = _others(path, catalogue, names) if names else ({}, {})
    if as_json:
        document: dict[str, Any] = {
            "kind": "serving-check",
            "version": 1,
            **asdict(found),
            "others": {label: {**asdict(one), "rate": one.rate} for label, one in others.items()},
            "left_out": left_out,
        }
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        _show(found, others, left_out)
    return int(found.differing > 0)


def _others(
    path: Path, catalogue: Catalogue, names: Sequence[str]
) -> tuple[Mapping[str, Coverage], Mapping[str, str]]:
    listed = [name for name in names if name != EVERYTHING]
    if EVERYTHING in names:
        listed = [*dict.fromkeys([*listed, *sorted(catalogue.policies)])]
    configs = {name: parse_policy(name, catalogue) for name in listed}
    recording = partly_recorded(path)
    tried: dict[str, Coverage] = {}
    left_out: dict[str, str] = {}
    for name, config in configs.items():
        try:
            policy = build_policy(config)
            if needs_of(policy) or requires_of(policy).signals:
                raise ConfigError(
                    "it looks at signals, which a trace holds only where the traced policy looked"
                )
            tried[name] = coverage(recording, config)
        except PacelineError as error:
            left_out[name] = str(error)
    return tried, left_out


def _show(found: Checked, others: Mapping[str, Coverage], left_out: Mapping[str, str]) -> None:
    write = sys.stdout.write
    name = found.policy.get("name")
    if not found.differing:
        write(f"{name}: all {found.rounds} decisions of {found.requests} requests were taken again.\n")
    else:
        write(
            f"{name}: {found.differing} of {found.rounds} decisions were taken otherwise; the first ones:\n"
        )
        for one in found.otherwise:
            write(f"  request {one.request}, round {one.round}: recorded {one.recorded}; now {one.now}\n")
    for label, tried in others.items():
        share, rate = f"{label}: {tried.answered} of {tried.texts} texts answered", tried.rate
        write(f"{share}, {rate:.1f} tokens/s\n" if rate is not None else f"{share}, so it is not ranked\n")
        if tried.first is not None:
            write(f"  first unknown: {tried.first}\n")
    for label, reason in left_out.items():
        sys.stderr.write(f"paceline: {label!r} was left out: {reason}\n")
