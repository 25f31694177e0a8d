"""Responses: rounds into text as it may be shown, and text into documents, whole or in chunks."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count, pairwise
from typing import Any, TypeAlias

from paceline.core.generation import Tally
from paceline.core.records import Round
from paceline.core.streaming import TextStream
from paceline.serving.openai.tool_calls import ToolCall, ToolCallReader

DONE = b"data: [DONE]\n\n"

Part: TypeAlias = str | ToolCall
"""A part of an answer."""


class Completion:
    """The answer to one request, as far as it has come.

    Args:
        text: Makes text of tokens.
        stop: Texts end before the first of these.
        prompt_tokens: How many tokens the prompt has.
        began_s: The time, by `time.monotonic`, at which the request came.
        calls: Finds calls of tools in the text.

    Attributes:
        first_s: Seconds until the first round was done.
        tokens_after_first: Tokens of the rounds behind it.
        tally: Sums over the rounds that were taken in.
        decoded: The decoder's own sums, to be handed to it: they know how the prompt was read, and may be ahead.
    """

    def __init__(
        self,
        text: TextStream,
        stop: Sequence[str],
        prompt_tokens: int,
        began_s: float,
        calls: ToolCallReader | None = None,
    ) -> None:
        self._text = text
        self._calls = ToolCallReader(None, ()) if calls is None else calls
        self._began_s = began_s
        self.first_s: float | None = None
        self.tokens_after_first = 0
        self._stop = tuple(stop)
        self._held = ""
        self._cut = False
        self.prompt_tokens = prompt_tokens
        self.tally = Tally()
        self.decoded = Tally()

    def add(self, done: Round) -> list[Part]:
        """Take in a round and return what is certain now: text, calls of tools, perhaps nothing."""
        if self.first_s is None:
            self.first_s = self.seconds
        else:
            self.tokens_after_first += done.emitted
        self.tally.add(done, done.total_s)
        return self._calls.push(self._show(self._text.push(done.tokens)))

    def finish(self) -> list[Part]:
        """Return what was held back."""
        piece = self._show(self._text.finish())
        rest, self._held = self._held, ""
        return [*self._calls.push(piece + rest), *self._calls.finish()]

    @property
    def seconds(self) -> float:
        """Seconds since the request came."""
        return time.monotonic() - self._began_s

    @property
    def reason(self) -> str:
        """Reason the text ended, in OpenAI's words."""
        if self.tally.ended == "length" and not self._cut:
            return "length"
        return "tool_calls" if self._calls.called else "stop"

    def sums(self) -> dict[str, dict[str, Any]]:
        """Return the tokens read and written, as OpenAI tells them, and what came of drafting, as vLLM does.

        Source: https://docs.vllm.ai, "Per-Request Acceptance Metrics"; `gammas` and `drafts` (rounds by planned gamma,
        and by draft) are ours, as are the times.
        """
        prompt, totals = self.prompt_tokens, self.tally.totals()
        used = {
            "prompt_tokens": prompt,
            "completion_tokens": totals.emitted,
            "total_tokens": prompt + totals.emitted,
            "prompt_tokens_details": {"cached_tokens": self.decoded.cached_tokens},
            "completion_tokens_details": {
                "accepted_prediction_tokens": totals.accepted,
                "rejected_prediction_tokens": totals.drafted - totals.accepted,
            },
        }
        steps = sum(rounds for draft, rounds in totals.drafts.items() if draft)
        past = (steps, *totals.agreed, 0)
        drafting = {
            "mean_acceptance_length": 1.0 + totals.accepted / steps if steps else 1.0,
            "draft_acceptance_rate": totals.acceptance,
            "acceptance_histogram": [more - fewer for more, fewer in pairwise(past)],
            "num_spec_steps": steps,
            "num_accepted_draft_tokens": totals.accepted,
            "num_draft_tokens": totals.drafted,
            "num_spec_tokens": max(totals.gammas, default=0),
            "gammas": {str(gamma): rounds for gamma, rounds in totals.gammas.items()},
            "drafts": {draft or "none": rounds for draft, rounds in totals.drafts.items()},
        }
        times = {"time_to_first_token_s": self.first_s, "tokens_per_second": totals.tokens_per_second}
        return {"usage": used, "metrics": {"speculative_decoding": drafting, **times}}

    def _show(self, piece: str) -> str:
        if self._cut:
            return ""
        text = self._held + piece
        places = [place for place in (text.find(stop) for stop in self._stop) if place >= 0]
        if places:
            self._cut, self._held = True, ""
            return text[: min(places)]
        kept = max((self._beginning(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]

    @staticmethod
    def _beginning(text: str, stop: str) -> int:
        """Return the length of the longest end of `text` that `stop` may begin with."""
        return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)


def event(document: dict[str, Any]) -> bytes:
    """Return a document as one server-sent event."""
    return b"data: " + json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """Form of answers of one kind.

    Attributes:
        model: The name of the model.
        chat: Whether this is about messages.
    """

    model: str
    chat: bool
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, parts: Sequence[Part], completion: Completion) -> dict[str, Any]:
        """Return the answer to a request that does not stream."""
        text = "".join(part for part in parts if isinstance(part, str))
        calls = [part.document() for part in parts if isinstance(part, ToolCall)]
        message: dict[str, Any] = {"role": "assistant", "content": text or (None if calls else "")}
        message |= {"tool_calls": calls} if calls else {}
        shown = {"message": message} if self.chat else {"text": text}
        return self._document("chat.completion", shown, completion.reason) | completion.sums()

    def chunk(self, text: str | None, *, reason: str | None = None, first: bool = False) -> dict[str, Any]:
        """Return a piece of an answer; the last one has a reason."""
        shown: dict[str, Any] = {"text": text or ""}
        if self.chat:
            delta = {"role": "assistant"} if first else {}
            shown = {"delta": delta | ({"content": text} if text is not None else {})}
        return self._document("chat.completion.chunk", shown, reason)

    def chunks(self) -> Callable[[Sequence[Part]], list[dict[str, Any]]]:
        """Return what makes pieces of the parts of one answer, in their order."""
        places = count()

        def made(parts: Sequence[Part]) -> list[dict[str, Any]]:
            return [
                self.chunk(part) if isinstance(part, str) else self._called(part, next(places))
                for part in parts
            ]

        return made

    def _called(self, call: ToolCall, place: int) -> dict[str, Any]:
        delta = {"tool_calls": [{"index": place} | call.document()]}
        return self._document("chat.completion.chunk", {"delta": delta}, None)

    def tail(self, completion: Completion) -> dict[str, Any]:
        """Return the piece behind the last one that tells what was used."""
        return self._document("chat.completion.chunk", None, None) | completion.sums()

    def _document(self, kind: str, shown: dict[str, Any] | None, reason: str | None) -> dict[str, Any]:
        choice = {"index": 0, **(shown or {}), "logprobs": None, "finish_reason": reason}
        return {
            "id": f"{'chatcmpl' if self.chat else 'cmpl'}-{self.id}",
            "object": kind if self.chat else "text_completion",
            "created": self.created,
            "model": self.model,
            "choices": [] if shown is None else [choice],
        }
