"""The text of one tokenizer in tokens of another, a window at a time.

A text that grows is encoded again from a few dozen tokens before its end, not from its beginning. What lies before that
window is settled. The window moves on where the encodings of the long and of the short window end alike: what both
begin differently with is then settled, and the tokens of the whole text are the same as before the move. When the
window moves depends on the tokens alone, not on how many came at once, so that the same text always gives the same
tokens.

Source of the idea: universal assisted generation (https://huggingface.co/blog/universal_assisted_generation). That the
window moves by equal ends, and what is held for certain below, are ours.
"""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

from paceline.backends.torch.codec import HfCodec
from paceline.core.text import UNFINISHED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.core.protocols import Codec

SPAN = 48
"""Tokens that a window keeps when it moves; it moves when it has grown by as many."""

LIKENESS = 4
"""Tokens in which both encodings must end alike before a window moves; one may be a coincidence."""

PATIENCE = 4
"""Spans after which a window moves in any case, so that no text makes it grow for ever."""

SEAMS = ("\n", "a")
"""Stand for a context that would be joined with what follows: hardly a tokenizer joins both of them with one text."""


def spell(codec: Codec, text: str) -> list[int]:
    """Return the tokens of a text that stands somewhere in the middle, without those that open and close a prompt."""
    if not text:
        return []
    if isinstance(codec, HfCodec):
        return list(codec.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    return list(codec.encode(text))


def opening(codec: HfCodec) -> list[int]:
    """Return the tokens that a tokenizer sets before every prompt."""
    inside, whole = spell(codec, "a"), codec.encode("a")
    places = (at for at in range(len(whole)) if inside and whole[at : at + len(inside)] == inside)
    return whole[: next(places, 0)]


def specials(codec: Codec) -> frozenset[int]:
    """Return the tokens that stand for no text, as far as a tokenizer tells which they are."""
    if not isinstance(codec, HfCodec):
        return frozenset()
    added = codec.tokenizer.added_tokens_decoder.items()
    return frozenset(codec.tokenizer.all_special_ids) | {index for index, token in added if token.special}


def agreement(left: Sequence[int], right: Sequence[int]) -> int:
    """Return how many tokens two lists begin with alike."""
    pairs = zip(left, right, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


class Retelling:
    """A growing list of `told` tokens, and the same text in tokens of another tokenizer.

    Args:
        told: The tokenizer of the tokens that come in.
        retold: The tokenizer of the tokens that go out.
    """

    def __init__(self, told: Codec, retold: HfCodec) -> None:
        self._told = told
        self._retold = retold
        self._settled = opening(retold)
        self._window: list[int] = []
        self._known = 0  # tokens of the encoded window that are settled already

    def extend(self, tokens: Sequence[int]) -> None:
        """Take in tokens that follow."""
        for token in tokens:
            self._window.append(token)
            if len(self._window) % SPAN == 0 and len(self._window) > SPAN:
                self._move()

    def text(self, count: int) -> str:
        """Return the text of the last `count` tokens, or of the window if that is shorter."""
        return self._told.decode(self._window[-count:])

    def tokens(self) -> tuple[list[int], float]:
        """Return the tokens of the whole text, and how many go out for one that comes in; none inside a character."""
        text = self._told.decode(self._window)
        if text.endswith(UNFINISHED):
            return [], 1.0
        encoded = spell(self._retold, text)
        return [*self._settled, *encoded[self._known :]], len(encoded) / max(1, len(self._window))

    def _encoded(self, window: Sequence[int]) -> list[int]:
        return spell(self._retold, self._told.decode(window))

    def _move(self) -> None:
        shorter = self._window[-SPAN:]
        before, after = self._encoded(self._window)[self._known :], self._encoded(shorter)
        alike = agreement(before[::-1], after[::-1])
        if alike < LIKENESS and len(self._window) < PATIENCE * SPAN:
            return
        self._settled += before[: len(before) - alike]
        self._known = len(after) - alike
        self._window = shorter


def continuation(codec: Codec, before: str, text: str, ahead: str) -> list[int]:
    """Return the tokens in which `text` goes on after `before`, those for certain that `ahead` does not change.

    Where the last token of `before` would not stand there had `text` been known, the text is spelled by itself.

    Args:
        codec: The tokenizer.
        before: The end of the context.
        text: What follows.
        ahead: What follows that, as far as it is known; if nothing is, the text counts as ended there.
    """
    for context in (before, *SEAMS):
        base, whole = spell(codec, context), spell(codec, context + text)
        if whole[: len(base)] != base:
            continue
        further = spell(codec, context + text + ahead) if ahead else whole
        return whole[len(base) : agreement(whole, further)]
    return []
