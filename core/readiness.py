"""What a block of a run file can tell of itself before it is built; `paceline doctor` asks for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from paceline.core.records import SIGNALS, Capabilities

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paceline.core.protocols import Codec
    from paceline.core.records import Signal


@dataclass(frozen=True, slots=True)
class Readiness:
    """What is known of a target or draft before any weight is read.

    What a backend does not know it leaves at its default; nothing is concluded from it then.

    Attributes:
        problems: What would keep it from being built or used, each a sentence with its remedy.
        remarks: What its user should know: a draft whose text is re-encoded, a model without a chat template.
        memory: Bytes that it will need at least, by device as torch names it ("cpu", "cuda:0").
        capabilities: A target's.
        signals: A draft's.
        codec: Its tokenizer; None if it has none, or it is not known.
        vocabulary: The number of its tokens, if known.
    """

    problems: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    memory: Mapping[str, int] = field(default_factory=dict)
    capabilities: Capabilities = field(default_factory=Capabilities)
    signals: frozenset[Signal] = SIGNALS
    codec: Codec | None = None
    vocabulary: int | None = None
