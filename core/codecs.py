"""The target's tokenizer, its answers checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from paceline.core.blame import blame, shown
from paceline.core.errors import ContractError
from paceline.core.targets import ask_target

if TYPE_CHECKING:
    from paceline.core.protocols import Codec


class GuardedCodec:
    """A tokenizer whose failures are errors that name it.

    Raises:
        BackendError: From both methods: it raised something.
        ContractError: It returned what is no text, or no tokens.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    def encode(self, text: str) -> list[int]:
        """Return the tokens of `text`."""
        tokens: object = ask_target(self._codec, "encode()", self._codec.encode, text)
        if not isinstance(tokens, Sequence) or isinstance(tokens, str):
            raise self._breach(f"encode() must return a list of tokens, found {shown(tokens)}")
        return list(tokens)

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of `tokens`."""
        text: object = ask_target(self._codec, "decode()", self._codec.decode, tokens)
        if not isinstance(text, str):
            raise self._breach(f"decode() must return text, found {shown(text)}")
        return text

    def _breach(self, message: str) -> ContractError:
        return ContractError(f"tokenizer {blame(self._codec)} of the target", message)
