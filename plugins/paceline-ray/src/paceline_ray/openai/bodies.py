"""The documents that are sent back, whole or in chunks: text completions and chat completions."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from paceline_ray.openai.writing import Writing

DONE = b"data: [DONE]\n\n"


def event(document: dict[str, Any]) -> bytes:
    """Return a document as one server-sent event."""
    return b"data: " + json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


@dataclass(frozen=True, slots=True)
class Body:
    """How answers of one kind look.

    Attributes:
        model: The name of the model.
        chat: Whether this is about messages.
    """

    model: str
    chat: bool
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, text: str, writing: Writing) -> dict[str, Any]:
        """Return the answer to a request that does not stream."""
        shown: dict[str, Any] = (
            {"message": {"role": "assistant", "content": text}} if self.chat else {"text": text}
        )
        return {
            **self._head("chat.completion" if self.chat else "text_completion"),
            "choices": [self._choice(shown, writing.reason)],
            "usage": writing.usage(),
            "speculation": writing.speculation(),
        }

    def chunk(self, text: str | None, *, reason: str | None = None, first: bool = False) -> dict[str, Any]:
        """Return a piece of an answer; the last one has a reason."""
        shown: dict[str, Any] = {"text": text or ""}
        if self.chat:
            delta = {"role": "assistant"} if first else {}
            shown = {"delta": delta | ({"content": text} if text is not None else {})}
        return {**self._head(self._chunks), "choices": [self._choice(shown, reason)]}

    def tail(self, writing: Writing) -> dict[str, Any]:
        """Return the piece behind the last one that tells what was used."""
        return {
            **self._head(self._chunks),
            "choices": [],
            "usage": writing.usage(),
            "speculation": writing.speculation(),
        }

    @property
    def _chunks(self) -> str:
        return "chat.completion.chunk" if self.chat else "text_completion"

    def _head(self, kind: str) -> dict[str, Any]:
        name = f"{'chatcmpl' if self.chat else 'cmpl'}-{self.id}"
        return {"id": name, "object": kind, "created": self.created, "model": self.model}

    @staticmethod
    def _choice(shown: dict[str, Any], reason: str | None) -> dict[str, Any]:
        return {"index": 0, **shown, "logprobs": None, "finish_reason": reason}
