"""The report as one HTML page that needs nothing else: no network, no script, no fonts."""

from __future__ import annotations

import json
from importlib import resources
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from paceline.lab.report.drawing import inline
from paceline.lab.report.palette import variables
from paceline.lab.report.pictures.choice import shown
from paceline.lab.report.words import READ, interval, share, times, verdict, warnings
from paceline.lab.validation import LARGEST_MISS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paceline.lab.report.drawing import Drawing
    from paceline.lab.report.findings import Findings

PACKAGE = "paceline.lab.report"


def page(findings: Findings, pictures: Mapping[str, Drawing]) -> str:
    """Return the page; the same findings give the same bytes."""
    templates = Environment(
        loader=PackageLoader(PACKAGE), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    templates.filters.update(times=times, share=share, interval=interval, block=_block, percent=_percent)
    chosen, prices = shown(findings), findings.prices
    style = (resources.files(PACKAGE) / "templates" / "style.css").read_text(encoding="utf-8")
    # The two files are ours and hold no data, so they may stand in the page as they are.
    return templates.get_template("page.html").render(
        found=findings,
        verdict=verdict(findings),
        warnings=list(warnings(findings)),
        pictures={name: Markup(inline(one)) for name, one in pictures.items()},  # noqa: S704 - see `inline`
        titles={name: one.title for name, one in pictures.items()},
        read=READ,
        style=Markup(style),  # noqa: S704
        light=Markup(variables("light")),  # noqa: S704
        dark=Markup(variables("dark")),  # noqa: S704
        largest_miss=LARGEST_MISS,
        apart=0 < findings.varying < findings.texts,
        chosen=chosen,
        rest=[row for row in findings.rows if row not in chosen],
        lengths=sorted(prices.verify.keys() | {length for one in prices.draft.values() for length in one})
        if prices
        else [],
        longest=max((len(one.reached) for one in findings.positions), default=0),
        first_price=prices.verify[min(prices.verify)] if prices else 1.0,
    )


def _block(policy: Mapping[str, Any]) -> str:
    return json.dumps(policy, ensure_ascii=False)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.0f} %"
