"""A draft with a tokenizer of its own: its text is proposed, in tokens of the target.

Each round the context is put into tokens of the draft (see `reencoding`), the draft goes on with a
few, and their text comes back as tokens of the target. Only tokens that the draft's next token leaves as they are get
proposed, and no special ones.

Nothing is lost under sampling either: no distribution comes with the tokens, so each counts as certain and is accepted
with the target's own probability of it (see `paceline.core.sampling`). The draft is therefore greedy, which
makes its proposals the likeliest ones it knows of.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

import torch

from paceline.backends.torch.codec import HfCodec
from paceline.backends.torch.reencoding import Retelling, continuation, specials
from paceline.backends.torch.stream import Stream
from paceline.core.errors import BackendError
from paceline.core.proposals import TokenProposal
from paceline.core.text import UNFINISHED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.backends.torch.draft import ModelDraft
    from paceline.core.protocols import Codec, DraftControl, Proposal, Target
    from paceline.core.records import Signal

HELD = 8
"""Tokens at the end of the draft's context that are read anew each round, since later text may spell them otherwise."""

SIGHT = 16
"""Tokens of the target's context that a drafted text is encoded behind."""

FINEST = 4
"""The most draft tokens that are drafted for one of the target."""


class TranslatedDraft:
    """Makes a draft with another tokenizer fit a target.

    Args:
        draft: The model, with its own tokenizer; what it says of the target's vocabulary is not used.
        target: Whose tokens are proposed.

    Raises:
        BackendError: One of the two has no tokenizer.
    """

    def __init__(self, draft: ModelDraft, target: Target) -> None:
        if draft.codec is None or target.codec is None:
            lacking = f"the draft {draft.engine.name}" if draft.codec is None else "the target"
            raise BackendError(
                f"hf: {lacking} has no tokenizer, so text cannot be put into tokens of the other model; give it one, "
                "or choose a draft that uses the target's tokens"
            )
        self.engine = draft.engine
        self.source = draft
        self.codec: HfCodec = draft.codec
        self.target_codec: Codec = target.codec
        self.own = min(self.engine.vocabulary, len(self.codec.tokenizer))
        """Only tokens of the draft below this have a text."""
        self.vocabulary = target.vocabulary
        self.special = specials(self.codec)
        self.never = target.eos | specials(target.codec)
        """Tokens of the target that are not proposed."""
        self._identity = f"{draft.identity} re-encoded"

    @property
    def identity(self) -> str:
        """That of the model, and that its text is re-encoded."""
        return self._identity

    @property
    def signals(self) -> frozenset[Signal]:
        """None: what the draft knows is about its own tokens."""
        return frozenset()

    def open(self, prompt: Sequence[int]) -> TranslatedSession:
        """Start a request; nothing is read before the first `draft`."""
        return TranslatedSession(self, prompt)


class TranslatedSession:
    """The draft at work on one request."""

    def __init__(self, draft: TranslatedDraft, prompt: Sequence[int]) -> None:
        self._draft = draft
        self._story = Retelling(draft.target_codec, draft.codec)
        self._news = list(prompt)  # not told to the story yet
        self._unread = len(prompt)
        self._stream: Stream | None = None
        self._read: list[int] = []  # the context of the stream, in tokens of the draft
        self._closed = False

    @property
    def lag(self) -> int:
        """Tokens of the target that came since the draft last read the context, the last one not counted."""
        return max(0, self._unread - 1)

    def draft(self, gamma: int, control: DraftControl | None) -> Proposal:
        """Propose at most `gamma` tokens; none where the text ends inside a character, or is too long for the draft."""
        del control  # no signal is offered, so there is nothing to look at
        if self._closed:
            raise BackendError(f"hf: this session of {self._draft.engine.name} was closed; open a new one")
        self._story.extend(self._news)
        self._news = []
        tokens, fineness = self._story.tokens()
        if not tokens or max(tokens) >= self._draft.engine.vocabulary:
            return TokenProposal(())
        count = self._count(gamma, fineness, len(tokens))
        if count < 1:
            return TokenProposal(())
        text, ahead = self._told(tokens[-HELD:], self._go_on(tokens, count))
        found = continuation(self._draft.target_codec, self._story.text(SIGHT), text, ahead)
        return TokenProposal(self._allowed(found)[:gamma])

    def advance(self, tokens: Sequence[int]) -> None:
        """Take in the tokens a round delivered, and forget whatever else was tried."""
        self._news += tokens
        self._unread += len(tokens)

    def close(self) -> None:
        """Free what this request held."""
        self._closed = True
        if self._stream is not None:
            self._stream.close()

    def _count(self, gamma: int, fineness: float, context: int) -> int:
        """Return how many tokens to draft for `gamma` of the target: by how fine they are, and one to look ahead."""
        wanted = ceil(gamma * min(FINEST, max(1.0, fineness))) + 1
        most = self._draft.engine.max_context
        # The last drafted token is never fed, so it needs no position.
        return wanted if most is None else min(wanted, most - context + 1)

    def _go_on(self, tokens: list[int], count: int) -> list[int]:
        """Read the context and return the tokens that follow, up to the first special one; one copy from the device."""
        stream = self._follow(tokens)
        logits = stream.attempt(tokens[len(self._read) :])[-1:]
        self._unread = 0
        chosen: list[torch.Tensor] = []
        while True:
            chosen.append(logits[:, : self._draft.own].float().argmax(dim=-1, keepdim=True))
            if len(chosen) == count:
                break
            logits = stream.extend(chosen[-1])
        return torch.cat(chosen).flatten().tolist()

    def _follow(self, tokens: list[int]) -> Stream:
        """Return a stream at the context less the tokens held back; a new one where what it read is spelled anew."""
        stream = self._stream
        if stream is None or tokens[: len(self._read)] != self._read:
            if stream is not None:
                stream.close()
            self._read = tokens[: max(1, len(tokens) - HELD)]
            stream = self._stream = Stream(self._draft.engine, self._read)
            return stream
        fresh = tokens[len(self._read) : max(len(self._read), len(tokens) - HELD)]
        stream.advance(fresh)
        self._read += fresh
        return stream

    def _told(self, context: list[int], drafted: list[int]) -> tuple[str, str]:
        """Return the text that was drafted, and what is known of the text after it.

        The last token drafted is what lies ahead. A special token ends the text instead, with nothing ahead; so does a
        character that never becomes complete, which lies ahead then.
        """
        special = self._draft.special
        end = next((at for at, token in enumerate(drafted) if token in special), None)
        parts = (drafted[:-1], drafted) if end is None else (drafted[:end], drafted[:end])
        known = self._draft.codec.decode(context)
        told, whole = (self._draft.codec.decode([*context, *part]) for part in parts)
        text = told[len(known) :].split(UNFINISHED)[0]
        if not told.startswith(known) or not whole.startswith(known + text):
            return "", ""
        return text, whole[len(known) + len(text) :]

    def _allowed(self, tokens: list[int]) -> tuple[int, ...]:
        """Return the tokens up to the first that must not be proposed."""
        never, vocabulary = self._draft.never, self._draft.vocabulary
        end = next((at for at, t in enumerate(tokens) if t in never or not 0 <= t < vocabulary), len(tokens))
        return tuple(tokens[:end])
