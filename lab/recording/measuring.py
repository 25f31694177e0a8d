"""Really decoding texts under a few policies while recording, so that replays can be held against the clock."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from paceline.core.errors import CapabilityError
from paceline.lab.decoding import decode
from paceline.lab.recording.model import Measured

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paceline.core.config.blocks import PolicyConfig
    from paceline.core.decoder import SpeculativeDecoder
    from paceline.lab.parts import Parts
    from paceline.lab.prompts import Prompt

POLICIES = ("static-1", "static-3", "static-5", "survival", "auto")
"""Measured where nobody says which: gammas spread over those that pay, and two policies that learn."""


@dataclass(frozen=True, slots=True)
class Measuring:
    """The policies measured, each of which goes on learning from text to text.

    Attributes:
        decoders: By name.
        blocks: The policies as JSON-able values, by name.
        left_out: Those that do not fit target and drafts, with the reason.
    """

    decoders: Mapping[str, SpeculativeDecoder]
    blocks: Mapping[str, Mapping[str, Any]]
    left_out: Mapping[str, str]

    def text(self, prompt: Prompt, max_new_tokens: int, *, part: int) -> list[Measured]:
        """Decode a prompt under each policy, in an order drawn for it."""
        names = list(self.decoders)
        Random(prompt.name).shuffle(names)
        runs = []
        for name in names:
            # Garbage of the policy before must not be collected on this one's time.
            gc.collect()
            done = decode(self.decoders[name], prompt.tokens, max_new_tokens)
            totals = done.totals
            runs.append(
                Measured(self.blocks[name], prompt.name, totals.emitted, totals.rounds, totals.seconds, part)
            )
        return runs


def measuring(parts: Parts, policies: Mapping[str, PolicyConfig]) -> Measuring:
    """Return what measures these policies; those that do not fit are left out."""
    decoders: dict[str, SpeculativeDecoder] = {}
    left_out: dict[str, str] = {}
    for name, config in policies.items():
        try:
            decoders[name] = parts.under(config)
        except CapabilityError as error:
            left_out[name] = str(error)
    blocks = {name: config.model_dump(mode="json") for name, config in policies.items() if name in decoders}
    return Measuring(decoders, blocks, left_out)
