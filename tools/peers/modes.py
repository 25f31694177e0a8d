"""Modes: an engine, a precision, and a way that the engine decodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from peers.weights import EIGHT_BIT, FLOAT

PRECISIONS: Final = (FLOAT, EIGHT_BIT)


@dataclass(frozen=True, slots=True)
class Mode:
    """A way to decode that is compared.

    Attributes:
        name: As `--modes` takes it.
        engine: The file in `engines` that has it.
        way: Its name there.
        label: What the table calls it.
        ours: Whether it is paceline's.
    """

    name: str
    engine: str
    way: str
    label: str
    ours: bool = False


BASE: Final = Mode("transformers", "transformers", "plain", "transformers `generate`")
"""The mode, in float32, that all speeds are ratios to."""

MODES: Final = (
    BASE,
    Mode("transformers-lookup", "transformers", "lookup", "transformers, prompt lookup"),
    Mode("drop-in", "transformers", "adaptive", 'paceline in `generate`: `adaptive("lookup")`', ours=True),
    Mode("graph", "graph", "plain", "paceline `graph`, plain", ours=True),
    Mode("graph-static-4", "graph", "static-4", "paceline `graph`, prompt lookup, `static-4`", ours=True),
    Mode("graph-auto", "graph", "auto", "paceline `graph`, prompt lookup, `auto`", ours=True),
    Mode("openvino", "openvino", "plain", "OpenVINO GenAI"),
    Mode("openvino-lookup", "openvino", "lookup", "OpenVINO GenAI, prompt lookup"),
    Mode("llama.cpp", "llama", "plain", "llama.cpp"),
    Mode("llama.cpp-lookup", "llama", "lookup", "llama.cpp, input lookup"),
    Mode("ctranslate2", "ctranslate2", "plain", "CTranslate2"),
)


def plain_of(mode: Mode) -> Mode:
    """Return the plain decoding of a mode's engine."""
    return next(other for other in MODES if other.engine == mode.engine)
