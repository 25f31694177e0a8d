"""Workloads that are made from the shipped prompts: long texts that repeat themselves, and many that differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.lab.prompts import Text

if TYPE_CHECKING:
    from collections.abc import Iterable

LINES, TIMES = 6, 5
"""The first six lines, five times over: some 500 tokens of the embedded pair, which reads 2048."""

SHARES = (0.4, 0.6, 0.8, 1.0)
"""A shipped prompt has 50 to 150 tokens: shorter beginnings would tell the target too little."""


def repetitive(texts: Iterable[Text]) -> list[Text]:
    """Return prompts that repeat themselves, as logs and tables do.

    Each is the beginning of a shipped prompt, some lines long, written several times below numbered headings. The
    number is all that is new each time.
    """
    return [Text(f"{text.name}-repeated", text.kind, _repeated(text.text)) for text in texts]


def _repeated(text: str) -> str:
    lines = text.splitlines()
    # A paragraph in one line is repeated sentence by sentence, as far as there are any.
    block = "\n".join(lines[:LINES]) if len(lines) > 1 else text.partition(". ")[0] + "."
    entries = "".join(f"# entry {number}\n{block}\n\n" for number in range(1, TIMES + 1))
    return f"{entries}# entry {TIMES + 1}\n"


def varied(texts: Iterable[Text]) -> list[Text]:
    """Return more and other prompts: each shipped one cut after some shares of it, at the end of a word; none twice.

    What the target writes next depends on where the prompt ends, so each cut leads to another text. Whether that text
    varies, or goes round in circles, is only known once it is written.
    """
    chosen: dict[str, Text] = {}
    for text in texts:
        for share in SHARES:
            cut = _cut(text.text, share)
            # Two of those shipped begin alike, and one word may hold two cuts.
            chosen.setdefault(cut, Text(f"{text.name}-{round(100 * share)}", text.kind, cut))
    return list(chosen.values())


def _cut(text: str, share: float) -> str:
    end = round(len(text) * share)
    while end < len(text) and not text[end].isspace():
        end += 1
    return text[:end]
