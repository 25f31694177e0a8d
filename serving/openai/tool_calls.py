"""Calls of tools in what a model writes: found in its text by the form that its chat template teaches.

Hermes and Qwen write `<tool_call>{"name": ..., "arguments": ...}</tool_call>` anywhere, Llama 3 an answer that is JSON
(`parameters` for `arguments`), perhaps behind `<|python_tag|>`, and Mistral a list behind `[TOOL_CALLS]`. Tokenizers
that take these words for special tokens leave them out of texts, so that what stands behind them is known by its first
letter. What is not wholly a call of a tool that was offered stays the text that it is.
"""

from __future__ import annotations

import json
import secrets
import string
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from paceline.core.json_text import is_text

ID_LETTERS: Final = string.ascii_letters + string.digits
ID_LENGTH: Final = 9
"""Templates of Mistral refuse an identifier of another length."""


@dataclass(frozen=True, slots=True)
class CallForm:
    """The way in which a family of models writes calls.

    Attributes:
        sign: In a chat template, it tells the family.
        opens: Before a call, wherever it stands.
        closes: Behind a call; None: the end of the answer.
        bare: An answer that begins with this letter may be a call as a whole.
    """

    sign: str
    opens: str
    closes: str | None
    bare: str


FORMS: Final = (
    CallForm("<tool_call>", "<tool_call>", "</tool_call>", ""),
    CallForm("[TOOL_CALLS]", "[TOOL_CALLS]", None, "["),
    CallForm("<|python_tag|>", "<|python_tag|>", None, "{"),
)


def form_of(template: str | None) -> CallForm | None:
    """Return the form that a chat template teaches, if it is known."""
    return next((form for form in FORMS if template is not None and form.sign in template), None)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool that was offered; its arguments are JSON."""

    name: str
    arguments: str

    def document(self) -> dict[str, Any]:
        """Return it as OpenAI tells it, under an identifier of its own."""
        identifier = "".join(secrets.choice(ID_LETTERS) for _ in range(ID_LENGTH))
        function = {"name": self.name, "arguments": self.arguments}
        return {"id": identifier, "type": "function", "function": function}


class ToolCallReader:
    """Parts text from calls as the text comes; what may still become a call is held back.

    Args:
        form: How the model writes calls; None leaves every text as it is.
        names: The tools that were offered; without any, likewise.
    """

    def __init__(self, form: CallForm | None, names: Collection[str]) -> None:
        self._form = form if names else None
        self._names = names
        self._held = ""
        self._opened: str | None = None  # what began the call that is being read, word for word
        self._begun = False
        self.called = False

    def push(self, piece: str) -> list[str | ToolCall]:
        """Take in a piece of text and return what is certain now."""
        form = self._form
        if form is None:
            return [piece] if piece else []
        self._held += piece
        parts: list[str | ToolCall] = []
        while self._step(form, parts):
            pass
        return parts

    def finish(self) -> list[str | ToolCall]:
        """Return what was held back, at the end of the text."""
        parts: list[str | ToolCall] = []
        held, self._held = self._held, ""
        if self._opened is not None:
            self._conclude(held, "", parts)
        elif held.strip() or not self.called:
            parts.append(held)
        return [part for part in parts if part]

    def _step(self, form: CallForm, parts: list[str | ToolCall]) -> bool:
        """Take a step over what is held, and tell whether there may be another."""
        if self._opened is not None:
            before, closes, after = self._held.partition(form.closes or "\0")
            if not closes or form.closes is None:
                return False
            self._held = after
            self._conclude(before, closes, parts)
            return True
        text = self._held
        solid = text.lstrip()
        if not solid:
            return False
        if not self._begun and form.bare and solid[0] in form.bare:
            self._begun, self._opened, self._held = True, text[: len(text) - len(solid)], solid
            return True
        place = text.find(form.opens)
        if place < 0:
            kept = next((n for n in range(len(form.opens) - 1, 0, -1) if text.endswith(form.opens[:n])), 0)
            certain = text[: len(text) - kept].rstrip()
            self._tell(certain, parts)
            self._held = text[len(certain) :]
            return False
        before = text[:place].rstrip()
        self._tell(before, parts)
        self._begun, self._opened = True, text[len(before) : place + len(form.opens)]
        self._held = text[place + len(form.opens) :]
        return True

    def _tell(self, text: str, parts: list[str | ToolCall]) -> None:
        if text:
            self._begun = True
            parts.append(text)

    def _conclude(self, block: str, closes: str, parts: list[str | ToolCall]) -> None:
        """Take what stands between the ends of a call for calls, or for the text that it is."""
        assert self._form is not None
        # An answer that begins with the letter may begin with the word in full.
        calls = self._calls(block.strip().removeprefix(self._form.opens))
        self.called = self.called or bool(calls)
        parts += calls or [f"{self._opened}{block}{closes}"]
        self._opened = None

    def _calls(self, block: str) -> list[ToolCall]:
        """Return the calls that a block consists of; none if there is anything else in it."""
        decoder, place, calls = json.JSONDecoder(), 0, list[ToolCall]()
        text = block.strip()
        try:
            while place < len(text):
                value, place = decoder.raw_decode(text, place)
                calls += map(self._call, value if isinstance(value, list) else [value])
                while place < len(text) and text[place] in " \t\r\n;":
                    place += 1
        except (ValueError, RecursionError):
            return []
        return calls

    def _call(self, value: object) -> ToolCall:
        """Return a call.

        Raises:
            ValueError: It is none.
        """
        name = value.get("name") if isinstance(value, dict) else None
        if not isinstance(value, dict) or not isinstance(name, str) or name not in self._names:
            raise ValueError("no call of a tool that was offered")
        arguments = value.get("arguments", value.get("parameters", {}))
        if not isinstance(arguments, dict):
            raise ValueError("arguments are an object")  # noqa: TRY004 - as of all that is no call
        # NaN and half of a surrogate pair, which Python's parser takes, are nothing that a client could read.
        written = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
        if not is_text(written):
            raise ValueError("half of a surrogate pair is no character")
        return ToolCall(name, written)
