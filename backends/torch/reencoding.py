"""A draft with a tokenizer of its own: its text is proposed, in tokens of the target.

Each round the context is put into tokens of the draft, the draft goes on with a
few, and their text comes back as tokens of the target. Only tokens that the draft's next token leaves as they are get
proposed, and no special ones.

Nothing is lost under sampling either: no distribution comes with the tokens, so each counts as certain and is accepted
with the target's own probability of it (see `paceline.core.rejection_sampling`). The draft is therefore greedy, which
makes its proposals the likeliest ones it knows of.

The context is encoded a window at a time. A text that grows is encoded again from a few dozen tokens before its end,
not from its beginning. What lies before that window is settled. The window moves on where the encodings of the long and
of the short window end alike: what both begin differently with is then settled, and the tokens of the whole text are
the same as before the move. When the window moves depends on the tokens alone, not on how many came at once, so that
the same text always gives the same tokens.

Source of the idea: universal assisted generation (https://huggingface.co/blog/universal_assisted_generation). That the
window moves by equal ends, and what is held for certain below, are ours.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

import torch

from paceline.backends.torch.sequence import SequenceState
from paceline.backends.torch.tokenizers import TokenizerCodec
from paceline.core.errors import BackendError
from paceline.core.prefixes import PrefixReuse, agreement
from paceline.core.proposals import TokenProposal
from paceline.core.streaming import UNFINISHED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paceline.backends.torch.draft import DraftModel
    from paceline.backends.torch.engine import Engine
    from paceline.core.proposals import DraftControl
    from paceline.core.protocols import Codec, Proposal, Target
    from paceline.core.records import Signal


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
    if isinstance(codec, TokenizerCodec):
        return list(codec.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    return list(codec.encode(text))


def opening(codec: TokenizerCodec) -> list[int]:
    """Return the tokens that a tokenizer sets before every prompt."""
    inside, whole = spell(codec, "a"), codec.encode("a")
    places = (at for at in range(len(whole)) if inside and whole[at : at + len(inside)] == inside)
    return whole[: next(places, 0)]


def specials(codec: Codec) -> frozenset[int]:
    """Return the tokens that stand for no text, as far as a tokenizer tells which they are."""
    if not isinstance(codec, TokenizerCodec):
        return frozenset()
    added = codec.tokenizer.added_tokens_decoder.items()
    return frozenset(codec.tokenizer.all_special_ids) | {index for index, token in added if token.special}


class Reencoder:
    """A growing list of tokens, and the same text in tokens of another tokenizer.

    Args:
        source: The tokenizer of the tokens that come in.
        target: The tokenizer of the tokens that go out.
    """

    def __init__(self, source: Codec, target: TokenizerCodec) -> None:
        self._source = source
        self._target = target
        self._settled = opening(target)
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
        return self._source.decode(self._window[-count:])

    def tokens(self) -> tuple[list[int], float]:
        """Return the tokens of the whole text, and how many go out for one that comes in; none inside a character."""
        text = self._source.decode(self._window)
        if text.endswith(UNFINISHED):
            return [], 1.0
        encoded = spell(self._target, text)
        return [*self._settled, *encoded[self._known :]], len(encoded) / max(1, len(self._window))

    def _encoded(self, window: Sequence[int]) -> list[int]:
        return spell(self._target, self._source.decode(window))

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


HELD = 8
"""Tokens at the end of the draft's context that are read anew each round, since later text may spell them otherwise."""

SIGHT = 16
"""Tokens of the target's context that a drafted text is encoded behind."""

FINEST = 4
"""The most draft tokens that are drafted for one of the target."""


class TranslatedDraft(PrefixReuse["Engine"]):
    """Makes a draft with another tokenizer fit a target.

    Args:
        draft: The model, with its own tokenizer; what it says of the target's vocabulary is not used.
        target: Whose tokens are proposed.

    Raises:
        BackendError: One of the two has no tokenizer.
    """

    def __init__(self, draft: DraftModel, target: Target) -> None:
        if draft.codec is None or target.codec is None:
            lacking = f"the draft {draft.engine.name}" if draft.codec is None else "the target"
            raise BackendError(
                f"hf: {lacking} has no tokenizer, so text cannot be put into tokens of the other model; give it one, "
                "or choose a draft that uses the target's tokens"
            )
        self.engine: Engine = draft.engine
        self.source = draft
        self.codec: TokenizerCodec = draft.codec
        self.target_codec: Codec = target.codec
        self.text_vocabulary = min(self.engine.vocabulary, len(self.codec.tokenizer))
        """Only tokens of the draft below this have a text."""
        self.vocabulary = target.vocabulary
        self.special = specials(self.codec)
        self.unproposable = target.eos | specials(target.codec)
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
        self._reencoder = Reencoder(draft.target_codec, draft.codec)
        self._pending = list(prompt)  # not re-encoded yet
        self._unread = len(prompt)
        self._sequence: SequenceState | None = None
        self._read: list[int] = []  # the context of the sequence, in tokens of the draft
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
        self._reencoder.extend(self._pending)
        self._pending = []
        tokens, fineness = self._reencoder.tokens()
        if not tokens or max(tokens) >= self._draft.engine.vocabulary:
            return TokenProposal(())
        count = self._count(gamma, fineness, len(tokens))
        if count < 1:
            return TokenProposal(())
        text, ahead = self._drafted_text(tokens[-HELD:], self._go_on(tokens, count))
        proposed = continuation(self._draft.target_codec, self._reencoder.text(SIGHT), text, ahead)
        return TokenProposal(self._allowed(proposed)[:gamma])

    def advance(self, tokens: Sequence[int]) -> None:
        """Take in the tokens a round delivered, and forget whatever else was tried."""
        self._pending += tokens
        self._unread += len(tokens)

    def close(self) -> None:
        """Free what this request held."""
        self._closed = True
        if self._sequence is not None:
            self._sequence.close()

    def _count(self, gamma: int, fineness: float, context: int) -> int:
        """Return how many tokens to draft for `gamma` of the target: by how fine they are, and one to look ahead."""
        count = ceil(gamma * min(FINEST, max(1.0, fineness))) + 1
        most = self._draft.engine.max_context
        # The last drafted token is never fed, so it needs no position.
        return count if most is None else min(count, most - context + 1)

    def _go_on(self, tokens: list[int], count: int) -> list[int]:
        """Read the context and return the tokens that follow, up to the first special one; one copy from the device."""
        sequence = self._follow(tokens)
        logits = sequence.attempt(tokens[len(self._read) :])[-1:]
        self._unread = 0
        chosen: list[torch.Tensor] = []
        while True:
            chosen.append(logits[:, : self._draft.text_vocabulary].float().argmax(dim=-1, keepdim=True))
            if len(chosen) == count:
                break
            logits = sequence.extend(chosen[-1])
        return torch.cat(chosen).flatten().tolist()

    def _follow(self, tokens: list[int]) -> SequenceState:
        """Return a sequence at the context less the tokens held back; a new one where what it read is spelled anew."""
        sequence = self._sequence
        if sequence is None or tokens[: len(self._read)] != self._read:
            if sequence is not None:
                sequence.close()
            self._read = tokens[: max(1, len(tokens) - HELD)]
            draft = self._draft
            sequence = self._sequence = SequenceState(draft.engine, self._read, prefixes=draft.prefixes)
            return sequence
        fresh = tokens[len(self._read) : max(len(self._read), len(tokens) - HELD)]
        sequence.advance(fresh)
        self._read += fresh
        return sequence

    def _drafted_text(self, context: list[int], drafted: list[int]) -> tuple[str, str]:
        """Return the text that was drafted, and what is known of the text after it.

        The last token drafted is what lies ahead. A special token ends the text instead, with nothing ahead; so does a
        character that never becomes complete, which lies ahead then.
        """
        special = self._draft.special
        end = next((at for at, token in enumerate(drafted) if token in special), None)
        parts = (drafted[:-1], drafted) if end is None else (drafted[:end], drafted[:end])
        known = self._draft.codec.decode(context)
        extended, whole = (self._draft.codec.decode([*context, *part]) for part in parts)
        text = extended[len(known) :].split(UNFINISHED)[0]
        if not extended.startswith(known) or not whole.startswith(known + text):
            return "", ""
        return text, whole[len(known) + len(text) :]

    def _allowed(self, tokens: list[int]) -> tuple[int, ...]:
        """Return the tokens up to the first that must not be proposed."""
        unproposable, vocabulary = self._draft.unproposable, self._draft.vocabulary
        end = next(
            (
                place
                for place, token in enumerate(tokens)
                if token in unproposable or not 0 <= token < vocabulary
            ),
            len(tokens),
        )
        return tuple(tokens[:end])
