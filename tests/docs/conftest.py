"""Fenced blocks of the documentation: found here, run by the tests beside this file."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# ([\w./-]+\.(?:ya?ml|toml|py))\n")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        file: The file it is, if its first line is a comment with a file name.
        line: Line of its first line in the page.
    """

    page: Path
    language: str
    text: str
    line: int

    @property
    def file(self) -> str | None:
        match = FILE.match(self.text)
        return match[1] if match else None

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def find_blocks(page: Path, *languages: str) -> list[Block]:
    """Return the blocks of a page that are in one of the languages."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, found[1], found[2], text.count("\n", 0, found.start()) + 2)
        for found in FENCE.finditer(text)
        if found[1] in languages
    ]


@pytest.fixture(scope="session")
def blocks() -> Callable[..., list[Block]]:
    return find_blocks
