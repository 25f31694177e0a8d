"""Records of a bench: prompts going in, one run of one mode on one prompt coming out.

Records hold numbers and names only; they know neither models nor how they were timed.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text to go on with.

    Attributes:
        name: Unique among the prompts of a bench.
        kind: What sort of text it is; speed-ups are also given for each kind.
        tokens: The prompt as the target reads it.
    """

    name: str
    kind: str
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Counts:
    """Facts about a run that are known only when our own loop decoded it.

    Attributes:
        rounds, drafted, accepted: Sums over the run.
        planned: The sum of the planned gammas.
        decode_s: Seconds of decoding, reading the prompt left out.
        draft_s, verify_s: The part of `decode_s` spent in the draft and in the target.
    """

    rounds: int
    drafted: int
    accepted: int
    planned: int
    decode_s: float
    draft_s: float
    verify_s: float


@dataclass(frozen=True, slots=True)
class Run:
    """One mode decoding one prompt once.

    Attributes:
        mode, prompt, kind: Which mode, the prompt's name, the prompt's kind.
        repeat: Which pass over the prompts this was, from 0.
        place: When in its block the run came, from 0.
        seconds: From the prompt's tokens to the last new token, reading the prompt included.
        tokens: The new tokens.
        counts: Details of the loop, or None for a mode that does not use it.
    """

    mode: str
    prompt: str
    kind: str
    repeat: int
    place: int
    seconds: float
    tokens: tuple[int, ...]
    counts: Counts | None = None


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The first place where a mode's output differs from plain decoding's on the same prompt.

    Attributes:
        position: Index of the first new token that differs.
        expected, found: The tokens there; None where that output had already ended.
    """

    mode: str
    prompt: str
    repeat: int
    position: int
    expected: int | None
    found: int | None
