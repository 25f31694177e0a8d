"""Rounds into text as it may be shown: whole characters, and nothing from a stop string on."""

from __future__ import annotations

from collections.abc import Sequence

from paceline import Codec, Ended, Round, TextStream


class Writing:
    """The answer to one request, as far as it has come.

    Args:
        codec: The tokenizer.
        stop: Texts end before the first of these.
        prompt_tokens: How many tokens the prompt has.
    """

    def __init__(self, codec: Codec, stop: Sequence[str], prompt_tokens: int) -> None:
        self._text = TextStream(codec)
        self._stop = tuple(stop)
        self._held = ""
        self._cut = False
        self.prompt_tokens = prompt_tokens
        self.ended: Ended | None = None
        self.rounds = self.drafted = self.accepted = self.tokens = 0

    def add(self, done: Round) -> str:
        """Take in a round and return the text that is certain now, perhaps none."""
        self.rounds += 1
        self.drafted += done.drafted
        self.accepted += done.accepted
        self.tokens += done.emitted
        self.ended = done.ended
        return self._show(self._text.push(done.tokens))

    def finish(self) -> str:
        """Return what was held back."""
        piece = self._show(self._text.finish())
        rest, self._held = self._held, ""
        return piece + rest

    @property
    def reason(self) -> str:
        """Why the text ended, in OpenAI's words."""
        return "length" if self.ended == "length" and not self._cut else "stop"

    def usage(self) -> dict[str, int]:
        """Return the tokens that were read and written."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.tokens,
            "total_tokens": self.prompt_tokens + self.tokens,
        }

    def speculation(self) -> dict[str, int]:
        """Return what came of drafting; not a part of OpenAI's interface."""
        return {"rounds": self.rounds, "drafted": self.drafted, "accepted": self.accepted}

    def _show(self, piece: str) -> str:
        if self._cut:
            return ""
        text = self._held + piece
        found = [place for place in (text.find(one) for one in self._stop) if place >= 0]
        if found:
            self._cut, self._held = True, ""
            return text[: min(found)]
        kept = max((self._beginning(text, one) for one in self._stop), default=0)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]

    @staticmethod
    def _beginning(text: str, stop: str) -> int:
        """Return the length of the longest end of `text` that `stop` may begin with."""
        return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)
