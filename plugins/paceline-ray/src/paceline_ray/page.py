"""The page that shows what the hub knows: the shared posterior, the gammas chosen, and who learnt it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

STYLE = """
body{font:15px/1.45 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2330;background:#fff}
table{border-collapse:collapse;margin:.6rem 0 1.4rem}td,th{padding:.2rem .8rem .2rem 0;text-align:right}
td:first-child,th:first-child{text-align:left}th{font-weight:600;border-bottom:1px solid #c8cfda}
.bar{display:inline-block;height:.7rem;background:#2f6db5;vertical-align:baseline}
dt{font-weight:600}dd{margin:0 0 .3rem;overflow-wrap:anywhere}h2{margin-top:2rem}
@media(prefers-color-scheme:dark){body{background:#12161d;color:#dfe5ee}.bar{background:#6ea8e8}}
"""
WIDEST = 16.0  # rem


def gammas(counts: Mapping[str, float]) -> dict[int, float]:
    """Return in how many rounds each gamma was planned, smallest first."""
    prefix = "gamma/"
    rounds = {int(name.removeprefix(prefix)): n for name, n in counts.items() if name.startswith(prefix)}
    return dict(sorted(rounds.items()))


class Html(str):
    """Text of this module's own that stands in a page as it is; all other text is escaped."""

    __slots__ = ()


def acceptance_sums(pool: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """Return the sums of names that end in accepted and refused, side by side: by place, in the order of positions."""
    sums: dict[str, list[float]] = {}
    for name, value in pool.items():
        place, _, verdict = name.rpartition("/")
        if verdict in {"accepted", "refused"}:
            sums.setdefault(place, [0.0, 0.0])[verdict == "refused"] = value

    def order(place: str) -> tuple[str, int]:
        draft, _, position = place.rpartition("/")
        return (draft, int(position)) if position.isdecimal() else (place, 0)

    return {place: (sums[place][0], sums[place][1]) for place in sorted(sums, key=order)}


def render(status: Mapping[str, Any]) -> str:
    """Return the page for what `Hub.status` tells."""
    subjects = status["subjects"]
    half_life = status["half_life_s"]
    forgets = "nothing is forgotten" if half_life is None else f"evidence weighs half after {half_life:g} s"
    body = "".join(_subject(group) for group in subjects) or "<p>No replica has reported yet.</p>"
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=5>"
        f"<meta name=viewport content='width=device-width'><title>paceline hub</title><style>{STYLE}</style>"
        f"<h1>What the replicas have learnt</h1><p>{escape(forgets)}.</p>{body}</html>"
    )


def _subject(group: Mapping[str, Any]) -> str:
    about = "".join(
        f"<dt>{escape(key)}</dt><dd>{escape(str(value))}</dd>" for key, value in group["about"].items()
    )
    tables = _posterior(group["pool"]) + _gammas(group) + _replicas(group)
    return f"<h2>{escape(group['key'])}</h2><dl>{about}</dl>{tables}"


def _posterior(pool: Mapping[str, float]) -> str:
    known = acceptance_sums(pool)
    if not known:
        return _table(
            "Shared sums", ("name", "sum"), [(name, f"{value:.4g}") for name, value in pool.items()]
        )
    rows = []
    for place, (yes, no) in known.items():
        share = f"{yes / (yes + no):.3f}" if yes + no else ""
        rows.append((place, f"{yes:.1f}", f"{no:.1f}", share, _bar(yes, yes + no)))
    return _table("Shared posterior", ("draft, bucket, position", "accepted", "refused", "share", ""), rows)


def _gammas(group: Mapping[str, Any]) -> str:
    chosen = gammas(group["counts"])
    most = max(chosen.values(), default=0.0)
    rows = [(str(gamma), f"{times:.0f}", _bar(times, most)) for gamma, times in chosen.items()]
    return _table("Gammas chosen", ("gamma", "rounds", ""), rows)


def _replicas(group: Mapping[str, Any]) -> str:
    names = ("requests", "rounds", "drafted", "accepted", "emitted")
    rows = []
    for replica in group["replicas"]:
        counts = [f"{replica['counts'].get(name, 0.0):.0f}" for name in names]
        rows.append((replica["replica"], f"{replica['heard_s_ago']:.1f} s", str(replica["reports"]), *counts))
    return _table("Replicas", ("replica", "heard ago", "reports", *names), rows)


def _bar(value: float, most: float) -> Html:
    width = WIDEST * value / most if most else 0.0
    return Html(f"<span class=bar style='width:{width:.2f}rem'></span>")


def _table(title: str, head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = "".join(
        "<tr>" + "".join(f"<td>{cell if isinstance(cell, Html) else escape(cell)}" for cell in row)
        for row in rows
    )
    heads = "".join(f"<th>{escape(name)}" for name in head)
    return f"<h3>{escape(title)}</h3><table><tr>{heads}{lines}</table>" if lines else ""
