"""The files of a batch: prompts in, and answers written down one by one, so that no interruption costs what is done."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NoReturn, Self

from paceline import BackendError, ConfigError, RunConfig, is_text

PROMPT, ERROR = "prompt", "error"
LIKE = '{"prompt": "Once upon a time"}'
VERSION = 1


@dataclass(frozen=True, slots=True)
class PromptRow:
    """One line of a file of prompts.

    Attributes:
        data: The object that stands there; empty if none does.
        prompt: Its prompt, if there is one to decode.
        error: Why there is none.
    """

    data: Mapping[str, Any] = field(default_factory=dict)
    prompt: str | None = None
    error: str | None = None


def read_prompts(path: Path) -> list[PromptRow]:
    """Return the rows of a file of JSON objects, one a line, each with a `prompt`; a bad line has its error.

    Lines end at a line feed and nowhere else: other separators of lines may stand inside JSON.

    Raises:
        ConfigError: The file cannot be read, or no line has a prompt.
    """
    try:
        if not path.is_file():
            raise ConfigError(
                f"{path}: there is no such file" if not path.exists() else f"{path}: not a file"
            )
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from None
    lines = enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1)
    rows = [_row(f"{path.name}:{number}", line) for number, line in lines if line.strip()]
    if not any(row.prompt is not None for row in rows):
        said = f"; {rows[0].error}" if rows else ""
        raise ConfigError(f"{path}: no prompts; give one object a line, such as {LIKE}{said}")
    return rows


class Journal:
    """Progress of a batch, kept beside the file that it is for; one command at a time.

    Args:
        out: Where the rows go once all are done.
        rows: All rows.
        run: What decodes them.

    Raises:
        ConfigError: `out` cannot be written, or what was begun there was another batch.
        BackendError: Another command is at it.
    """

    def __init__(self, out: Path, rows: Sequence[PromptRow], run: RunConfig) -> None:
        if not out.parent.is_dir():
            raise ConfigError(f"{out}: there is no folder {out.parent}")
        if out.exists() and not out.is_file():
            raise ConfigError(f"{out}: not a file; name one that may be replaced")
        self.out, self.path = out, out.with_name(f"{out.name}.part")
        self._rows = rows
        self._answers: dict[int, Mapping[str, Any]] = {}
        about = [run.model_dump(mode="json"), [[row.prompt, row.error] for row in rows]]
        digest = hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()
        self._header = {"paceline_batch": VERSION, "of": digest}
        try:
            self._file = self._opened()
        except OSError as error:
            raise ConfigError(f"{self.path}: {error.strerror or error}") from None

    def __enter__(self) -> Self:
        """Return itself, open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trail: TracebackType | None
    ) -> None:
        """Close the file; one that holds no answer is removed."""
        if not self._answers:
            self.path.unlink(missing_ok=True)
        self._file.close()

    def __len__(self) -> int:
        """Return how many answers there are."""
        return len(self._answers)

    def left(self) -> list[tuple[int, str]]:
        """Return places and prompts of the rows that have no answer yet."""
        places = (place for place in range(len(self._rows)) if place not in self._answers)
        return [(place, prompt) for place in places if (prompt := self._rows[place].prompt) is not None]

    def add(self, place: int, answer: Mapping[str, Any]) -> None:
        """Write down the answer to the row at a place."""
        self._file.write(_line({"place": place, "answer": answer}))
        self._file.flush()
        self._answers[place] = answer

    def finish(self) -> list[str]:
        """Write all rows with their answers, in the order they came in; return what failed.

        The file is there as a whole, or as it was.
        """
        failed = []
        new = self.out.with_name(f".{self.out.name}.{secrets.token_hex(8)}")
        try:
            with new.open("xb") as file:
                for place, row in enumerate(self._rows):
                    answer = {ERROR: row.error} if row.prompt is None else self._answers[place]
                    whole = {**row.data, ERROR: "", **answer}
                    if whole[ERROR]:
                        failed.append(str(whole[ERROR]))
                    else:
                        del whole[ERROR]
                    file.write(_line(whole))
            new.replace(self.out)
        except OSError as error:
            new.unlink(missing_ok=True)
            raise BackendError(
                f"{self.out}: {error.strerror or error}; the texts are in {self.path}, the same command goes on there"
            ) from None
        self.path.unlink(missing_ok=True)
        return failed

    def _opened(self) -> IO[bytes]:
        if self.path.exists() and not self.path.is_file():
            raise ConfigError(f"{self.path}: not a file; remove it")
        number = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        file = os.fdopen(number, "r+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._resume(file)
        except BlockingIOError:
            file.close()
            raise BackendError(f"another command is writing {self.path}") from None
        except BaseException:
            file.close()
            raise
        return file

    def _resume(self, file: IO[bytes]) -> None:
        whole, _, cut = file.read().rpartition(b"\n")
        lines = whole.split(b"\n") if whole else []
        try:
            documents: list[Any] = [json.loads(line) for line in lines] or [self._header]
            header, *answers = documents
            if header == self._header:
                self._answers = {int(answer["place"]): dict(answer["answer"]) for answer in answers}
        except (ValueError, KeyError, TypeError, RecursionError):
            header = None
        if header != self._header:
            raise ConfigError(
                f"{self.path} was begun with other prompts or another run; remove it, or name another file"
            )
        if cut:  # the process was killed while it wrote
            file.truncate(file.seek(-len(cut), os.SEEK_END))
        if not lines:
            file.write(_line(self._header))
            file.flush()


def _row(place: str, line: bytes) -> PromptRow:
    try:
        data = json.loads(line, parse_constant=_no_number)
    except RecursionError:
        return PromptRow(error=f"{place}: nested too deeply")
    except ValueError as error:  # UnicodeDecodeError is one
        return PromptRow(error=f"{place}: not JSON: {error}")
    prompt = data.get(PROMPT) if isinstance(data, dict) else None
    if isinstance(prompt, str) and is_text(prompt):
        return PromptRow(data, prompt)
    problem = (
        "the prompt holds half of a surrogate pair, which is no character"
        if isinstance(prompt, str)
        else f"expected an object such as {LIKE}"
    )
    return PromptRow(data if isinstance(data, dict) else {}, error=f"{place}: {problem}")


def _line(document: Mapping[str, Any]) -> bytes:
    text = json.dumps(document, ensure_ascii=False)
    if not is_text(text):  # which was handed through
        text = json.dumps(document)
    return text.encode() + b"\n"


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")
