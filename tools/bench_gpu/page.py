"""The page of a bench."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench_gpu.modes import COMPILED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def write_page(bench: Mapping[str, Any]) -> str:
    """Return what was bench as Markdown."""
    machine = f"{bench['device']}; torch {bench['torch']}, transformers {bench['transformers']}."
    pair = f"Target {bench['target']}, draft {bench['draft']}, random weights, bfloat16."
    text = f"Prompt of {bench['prompt']} tokens, {bench['new']} written."
    memory = f"Memory: {bench['memory_bytes_per_s'] / 1e9:.0f} GB/s in a copy, {bench['memory_gib']:.1f} GiB in use."
    start = f"Programs built in {bench['warm_s']:.1f} s."
    lines = ["# The graph backend, bench", "", f"{machine} {pair} {text} {memory} {start}", ""]
    for context, rows in bench["programs"].items():
        lines += [
            f"## Programs after {context} tokens",
            "",
            "| gamma | draft, ms | verify, ms | share of the roofline |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| {row['gamma']} | {1e3 * row.get('draft_s', 0):.3f} | {1e3 * row['verify_s']:.3f} | "
            f"{100 * row['roofline']:.0f} % |"
            for row in rows
        ]
        lines.append("")
    lines += ["## Outside the two programs", "", "| gamma | share of a round |", "|---|---|"]
    lines += [f"| {row['gamma']} | {100 * row['outside']:.1f} % |" for row in bench["rounds"]]
    lines += ["", *_modes("Pair as it is", bench["modes"])]
    lines += _modes("Acceptance imposed: every text of ours but the plain one is INVALID", bench["imposed"])
    lines += _modes("Heads set to zero, so that every draft token is right", bench["agreeing"])
    return "\n".join(lines)


def _modes(title: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    compiled = next((row["ratio"] for row in rows if row["mode"] == COMPILED and "ratio" in row), None)
    lines = [
        f"## {title}",
        "",
        "| mode | over transformers' compiled `generate` | over its plain one | spread of that |",
        "|---|---|---|---|",
    ]
    for row in rows:
        if "error" in row:
            lines.append(f"| {row['mode']} | failed: {row['error'].splitlines()[0]} | | |")
            continue
        over = "" if compiled is None else f"{row['ratio'] / compiled:.2f}"
        lines.append(
            f"| {row['mode']} | {over} | {row['ratio']:.2f} | {row['least']:.2f} to {row['most']:.2f} |"
        )
    return [*lines, ""]
