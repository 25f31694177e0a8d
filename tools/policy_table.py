"""Every installed policy on the twelve made-up cells: `python -I tools policy_table [PAGE]`.

A number is the speed as a share of that of the best static gamma of each text in hindsight, mean over texts. Policies
start cold on every text. Signals tell nothing. With a page, the table is written between its two `cells` marks.
"""

from __future__ import annotations

import sys
from functools import cache, partial
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

from marked import write_marked
from paceline.cli._render import Column, Table, number
from paceline.core.errors import PacelineError
from paceline.core.plugins.catalogue import Catalogue
from paceline.core.records import TokenSignals
from paceline.core.testing.doubles import FixedCosts
from paceline.core.testing.playing import play
from paceline.lab.replay.static_gamma import sweep
from paceline.lab.workloads.synthetic import ACCEPTANCES, CELLS, PRICES, Cell, made_up

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paceline.core.protocols import Policy

TOKENS = 600
TEXTS = 24
SILENT = {"draft": [TokenSignals(0, top1=0.7, prob=0.7, entropy=1.0, margin=0.5, token=0)] * TOKENS}


@cache
def best_static_s(cell: Cell) -> Sequence[float]:
    """Return the seconds of the best static gamma of each text."""
    recording = made_up(cell, texts=TEXTS, tokens=TOKENS)
    return [min(each.seconds for each in totals) for totals in sweep(recording.header, recording)]


def share_of_best(build: Callable[[int], Policy], cell: Cell, texts: int = TEXTS) -> float:
    """Return the speed of a policy on one cell, as a share of the best static gamma of each text."""
    costs = FixedCosts(cell.price, cell.verify_s)
    shares = []
    for seed in range(texts):
        rounds = play(build(seed), cell.text(TOKENS, seed), costs=costs, signals=SILENT)
        shares.append(best_static_s(cell)[seed] / sum(done.total_s for done in rounds))
    return mean(shares)


def rows(catalogue: Catalogue) -> list[tuple[str, list[float]]]:
    """Return each policy with its share on every cell, the best on average first."""
    listed = []
    for name, entry in catalogue.policies.items():
        try:
            config = entry.config.model_validate({"name": name})
            listed.append((name, [share_of_best(config.build, cell) for cell in CELLS]))
        except (PacelineError, ValueError) as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
    return sorted(listed, key=lambda row: -mean(row[1]))


def table(listed: list[tuple[str, list[float]]]) -> str:
    """Return the rows as a table, cells of one kind of acceptance averaged over the prices."""
    kinds = list(ACCEPTANCES)
    assert len(CELLS) == len(PRICES) * len(kinds)
    over_all, of_kind = partial(number, digits=3), partial(number, digits=2)
    names = (
        Column("policy", lambda name: f"`{name}`"),
        Column("mean", over_all),
        Column("worst cell", over_all),
    )
    made = Table((*names, *(Column(kind, of_kind) for kind in kinds)))
    for name, shares in listed:
        by_kind = (mean(shares[i :: len(kinds)]) for i in range(len(kinds)))
        made.add(name, mean(shares), min(shares), *by_kind)
    return made.markdown().strip()


def main(arguments: list[str]) -> None:
    """Print the table, or write it into a page."""
    text = table(rows(Catalogue.load()))
    print(text)
    if arguments:
        write_marked(Path(arguments[0]), "cells", text)


if __name__ == "__main__":
    main(sys.argv[1:])
