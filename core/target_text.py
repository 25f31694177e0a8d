"""Text and tokens of a target: prompts and messages go in, outputs come out."""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, Any

from paceline.core.errors import BackendError, short_repr
from paceline.core.guards.target import GuardedCodec
from paceline.core.streaming import TextStream

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paceline.core.protocols import Target


class TargetText:
    """Whoever has a target, and turns text into its tokens and back.

    Attributes:
        target: The target.
    """

    target: Target

    def encode(self, prompt: str | Sequence[int]) -> list[int]:
        """Return the tokens of a prompt; tokens given are checked against the target's vocabulary.

        They may be whole numbers of any type, such as the elements of an array or a tensor.
        """
        return self._checked(self.codec().encode(prompt) if isinstance(prompt, str) else list(prompt))

    def encode_chat(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> list[int]:
        """Return the tokens of a conversation as the target's chat template writes it, up to where the answer begins.

        Args:
            messages: Each with `role` and what else the template reads, mostly `content`.
            options: More that the template reads, such as `tools`.

        Raises:
            BackendError: The target has no chat template, or the template refuses the messages.
        """
        return self._checked(self.codec().encode_chat(messages, options))

    def decode(self, tokens: Sequence[int]) -> str | None:
        """Return the text of an output, special tokens left out; None when the target has no tokenizer."""
        return None if self.target.codec is None else self.codec().decode(tokens)

    def text_stream(self) -> TextStream:
        """Return what makes text of an output's tokens as they come."""
        return TextStream(self.codec())

    def _checked(self, tokens: Sequence[int]) -> list[int]:
        if not tokens:
            raise BackendError("the prompt is empty: give at least one token")
        checked = []
        for token in tokens:
            try:
                # Elements of a tensor would be no keys to those who look for repetitions.
                known = int(index(token))
            except TypeError:
                known = -1
            checked.append(known)
            if not 0 <= known < self.target.vocabulary:
                raise BackendError(
                    f"the prompt holds {short_repr(token)}; tokens are 0 to {self.target.vocabulary - 1}"
                )
        return checked

    def codec(self) -> GuardedCodec:
        """Return the target's tokenizer.

        Raises:
            BackendError: It has none.
        """
        if self.target.codec is None:
            raise BackendError(
                "this target has no tokenizer: give the prompt as tokens and use rounds() or generate()"
            )
        return GuardedCodec(self.target.codec)
