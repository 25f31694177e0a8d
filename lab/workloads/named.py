"""Workloads by name, and files of prompts where names are taken as well."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paceline.core.errors import ConfigError
from paceline.lab.workloads.files import read
from paceline.lab.workloads.prompts import EMBEDDED, Text, embedded

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SHIPPED, REPETITIVE, VARIED, CHAT, BAD_PAIR = "shipped", "repetitive", "varied", "chat", "bad-pair"
NAMES = (SHIPPED, REPETITIVE, VARIED, CHAT, BAD_PAIR)
"""`embedded` is another word for `shipped`."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Prompts, with what else of the run belongs to them.

    Attributes:
        name: The name, or the path of the file.
        texts: The prompts.
        changes: Values for dotted keys of a run, which go over those of the run file and under those of `--set`.
    """

    name: str
    texts: Sequence[Text]
    changes: Mapping[str, Any] = field(default_factory=dict)


def load(name: str) -> Workload:
    """Return the workload of a name, or the prompts of a file.

    A file is meant where there is one of that name, or where the name has a suffix or a folder.

    - `shipped`: the prompts shipped with the embedded pair;
    - `repetitive`, `varied`, `chat`: see below;
    - `bad-pair`: the shipped prompts with the embedded pair's smallest model as the target and a larger one as its
      draft, which takes longer than the target itself, so that no speculation pays.

    Raises:
        ConfigError: There is no such workload, or the file is wrong.
    """
    if name in {SHIPPED, EMBEDDED}:
        return Workload(SHIPPED, embedded())
    if name == REPETITIVE:
        return Workload(name, repetitive(embedded()))
    if name == VARIED:
        return Workload(name, varied(embedded()))
    if name == CHAT:
        return Workload(name, chat())
    if name == BAD_PAIR:
        return Workload(name, embedded(), _bad_pair())
    path = Path(name)
    if path.exists() or path.suffix or len(path.parts) > 1:
        return Workload(name, read(path))
    near = get_close_matches(name, NAMES, n=1)
    meant = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError(
        f"no workload {name!r} and no such file; {meant}There are: {', '.join(NAMES)}, or a file of prompts"
    )


def _bad_pair() -> dict[str, Any]:
    return {
        "target": {"backend": "embedded", "size": "small"},
        "drafts": {"medium": {"backend": "embedded", "size": "medium"}},
    }


def chat() -> list[Text]:
    """Return conversations for a target with a chat template, of the kinds that people put to one.

    They are written for this and stand in no other set. Long documents stand once in the file, and go in where a
    message has their name in braces.
    """
    lines = (resources.files(__package__) / "chat.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    documents = {f"{{{row['document']}}}": row["text"] for row in rows if "document" in row}
    return [
        Text(row["name"], row["kind"], messages=[_filled(message, documents) for message in row["messages"]])
        for row in rows
        if "messages" in row
    ]


def _filled(message: Mapping[str, str], documents: Mapping[str, str]) -> Mapping[str, str]:
    content = message["content"]
    for name, text in documents.items():
        content = content.replace(name, text)
    return {**message, "content": content}


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
