"""Find the training text, hold a part of it out, and turn it into tokens.

Everything is under the PSF licence: the standard library of the running
interpreter and, where it is given, the reStructuredText of Python's own
documentation.  Whole files are held out, chosen by a hash of their path, so
that the split is the same on every machine and in every run.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

KINDS = ("code", "tests", "prose", "tables", "licence")
CAPS = {"tests": 4_500_000, "tables": 800_000, "prose": 4_500_000}
HELD_OUT_ONE_IN = 12
TEST_FOLDERS = frozenset({"test", "tests", "idle_test"})
TABLE_FOLDERS = frozenset({"encodings"})
TABLE_FILES = frozenset({"html/entities.py", "token.py", "stringprep.py"})
SKIPPED_FOLDERS = frozenset({"site-packages", "__pycache__", "config", "turtledemo"})
MAX_FILE_BYTES = 600_000
MIN_FILE_BYTES = 200


@dataclass(frozen=True)
class Document:
    """One text of the corpus: its stable name, its kind and its content."""

    name: str
    kind: str
    text: str

    @property
    def held_out(self) -> bool:
        """Tell whether this document is kept away from training."""
        if self.name.startswith(("docs/reference/", "topics/", "lib/LICENSE")):
            # The same paragraphs stand in several of these; parting them would leak.
            return False
        if self.kind == "licence" and int(self.name.rpartition("#")[2]) < 9:
            # The licences of Python itself, which are those of lib/LICENSE too.
            return False
        one_in = 3 if self.kind == "licence" else HELD_OUT_ONE_IN
        return name_hash(self.name) % one_in == 0


def name_hash(name: str) -> int:
    """Return a number that depends on the name alone, the same everywhere."""
    return int(hashlib.md5(name.encode(), usedforsecurity=False).hexdigest(), 16)


def _read(path: Path) -> str | None:
    """Return the text of a file, or None where it is no text worth reading."""
    if not MIN_FILE_BYTES <= path.stat().st_size <= MAX_FILE_BYTES:
        return None
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def _kind_of(relative: Path) -> str:
    if TEST_FOLDERS & set(relative.parts[:-1]):
        return "tests"
    if relative.parts[0] in TABLE_FOLDERS or relative.as_posix() in TABLE_FILES:
        return "tables"
    return "code"


def _python_files(stdlib: Path) -> Iterator[Document]:
    for path in sorted(stdlib.rglob("*.py")):
        relative = path.relative_to(stdlib)
        if SKIPPED_FOLDERS & set(relative.parts[:-1]) or relative.parts[0] == "pydoc_data":
            continue
        text = _read(path)
        if text is not None:
            yield Document(f"lib/{relative.as_posix()}", _kind_of(relative), text)


def _topics(stdlib: Path) -> Iterator[Document]:
    """Yield the help topics of pydoc, one document each."""
    path = stdlib / "pydoc_data" / "topics.py"
    if not path.exists():
        return
    source = ast.parse(path.read_text(encoding="utf-8"))
    for node in source.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            topics: dict[str, str] = ast.literal_eval(node.value)
            for name, text in topics.items():
                yield Document(f"topics/{name}", "prose", text)


def sections(name: str, text: str) -> list[Document]:
    """Cut a licence collection at its underlined headings, one document a part."""
    starts = [match.start() for match in re.finditer(r"(?m)^\S.*\n([-=~*])\1{3,}$", text)]
    bounds = [0, *[start for start in starts if start], len(text)]
    parts = [text[a:b].strip() for a, b in pairwise(bounds)]
    return [Document(f"{name}#{i}", "licence", part) for i, part in enumerate(parts) if len(part) > 300]


def _licences(stdlib: Path, docs: Path | None) -> Iterator[Document]:
    for path in (stdlib / "LICENSE.txt", stdlib.parent.parent / "LICENSE"):
        if path.exists():
            yield Document(f"lib/{path.name}", "licence", path.read_text(encoding="utf-8"))
    if docs is not None and (docs / "license.rst.txt").exists():
        yield from sections("docs/license.rst", (docs / "license.rst.txt").read_text(encoding="utf-8"))


def _docs(docs: Path) -> Iterator[Document]:
    for path in sorted(docs.rglob("*.rst.txt")):
        relative = path.relative_to(docs).as_posix().removesuffix(".txt")
        text = _read(path)
        if text is not None and relative != "license.rst":
            yield Document(f"docs/{relative}", "prose", text)


def _capped(documents: Iterable[Document]) -> Iterator[Document]:
    """Yield documents in the order of their hash until the cap of their kind is reached."""
    used = dict.fromkeys(KINDS, 0)
    for document in sorted(documents, key=lambda d: name_hash("order " + d.name)):
        used[document.kind] += len(document.text)
        if used[document.kind] <= CAPS.get(document.kind, 1 << 60):
            yield document


def find_documents(
    docs: Path | None = None, stdlib: Path | None = None, capped: bool = True
) -> list[Document]:
    """Return the corpus, sorted by name: `docs` is the folder of the .rst.txt files.

    With `capped` false it is everything there is, more than is trained on.
    """
    stdlib = stdlib or Path(sysconfig.get_paths()["stdlib"])
    documents = [*_python_files(stdlib), *_topics(stdlib), *_licences(stdlib, docs)]
    if docs is not None:
        documents += _docs(docs)
    return sorted(_capped(documents) if capped else documents, key=lambda d: d.name)


def encode(tokenizer: PreTrainedTokenizerBase, documents: Iterable[Document]) -> NDArray[np.uint16]:
    """Return the tokens of the documents in one row, each document closed by the end token."""
    texts = [document.text for document in documents]
    row: list[int] = []
    for ids in tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []:
        row += [*ids, 0]
    return np.asarray(row, dtype=np.uint16)


def blocks(tokens: NDArray[np.uint16], length: int, size: int, step: int, seed: int) -> NDArray[np.int64]:
    """Return batch number `step`: `size` blocks of `length`, every block once an epoch, shuffled by the seed."""
    count = max(1, (len(tokens) - 1) // length - 1)
    rows = []
    for i in range(step * size, (step + 1) * size):
        rng = np.random.default_rng([seed, i // count])
        shift, order = int(rng.integers(length)), rng.permutation(count)
        start = min(int(order[i % count]) * length + shift, max(0, len(tokens) - length))
        rows.append(tokens[start : start + length])
    return np.stack(rows).astype(np.int64)
