"""The prompts shipped with the embedded pair, for benchmarks and recordings."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FILE: Final = Path(__file__).resolve().parent / "prompts.json"


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text to continue.

    Attributes:
        id: Unique name.
        kind: What sort of text it is, such as code or prose.
        text: The prompt.
        source: Where it comes from.
    """

    id: str
    kind: str
    text: str
    source: str


def prompts() -> tuple[Prompt, ...]:
    """Read the shipped prompts, in the order of the file."""
    listed = json.loads(FILE.read_text(encoding="utf-8"))
    return tuple(Prompt(item["id"], item["kind"], item["text"], item["source"]) for item in listed)
