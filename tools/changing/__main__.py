"""Policies on made-up kinds whose costs change: `python -I tools changing [--kind KIND] [POLICY ...]`.

Prints for each kind, or those named, what `changing.measure` says of each policy, over the seeds of each kind. With
`--page`, the tables are written between the two `changing` marks of a page. Exits with 1 where the first policy, `auto`
by default, misses a limit.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path

from changing.measure import measure
from changing.table import tables
from marked import write_marked
from paceline.core.plugins.catalogue import Catalogue
from paceline.lab.short_names import parse_policy
from paceline.lab.workloads.changing import KINDS, kind

POLICIES = ("auto", "survival", "online", "hedge", "thompson", "gate", "ev-stop")


def main(arguments: list[str]) -> int:
    """Measure, print, and write into a page where one is given."""
    parser = ArgumentParser("python -I tools changing", description="Policies where costs change.")
    parser.add_argument("policies", nargs="*", default=POLICIES, metavar="POLICY", help="such as survival")
    parser.add_argument("--kind", action="append", metavar="KIND", help="only this one; may be repeated")
    parser.add_argument("--page", type=Path, help="write the tables between the marks of this page")
    given = parser.parse_args(arguments)
    catalogue, measured = Catalogue.load(), {}
    kinds = KINDS if given.kind is None else tuple(map(kind, given.kind))
    for name in given.policies:
        config = parse_policy(name, catalogue)
        measured[name] = [measure(made_up_kind, config.build) for made_up_kind in kinds]
    text = tables(measured)
    sys.stdout.write(f"{text}\n")
    if given.page is not None:
        write_marked(given.page, "changing", text)
    missed = [numbers.kind.name for numbers in measured[given.policies[0]] if not numbers.holds]
    if missed:
        sys.stderr.write(f"{given.policies[0]} misses the limit of: {', '.join(missed)}\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
