"""CTranslate2, which has no speculation for language models."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peers.weights import CTRANSLATE2

if TYPE_CHECKING:
    from collections.abc import Callable

    from peers.protocol import Request


def load(models: str, precision: str, threads: int) -> Callable[[Request], list[int]]:
    """Load the model; it takes tokens by their text."""
    library = import_module("ctranslate2")
    folder = Path(models) / CTRANSLATE2[precision]
    generator = library.Generator(
        str(folder), device="cpu", compute_type=precision, inter_threads=1, intra_threads=threads
    )
    texts: list[str] = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))

    def generate(request: Request) -> list[int]:
        drawing: dict[str, Any] = {"sampling_topk": 1}
        if request.temperature:
            library.set_random_seed(request.seed)
            drawing = {"sampling_topk": 0, "sampling_temperature": request.temperature}
        (done,) = generator.generate_batch(
            [[texts[token] for token in request.prompt]],
            max_length=request.tokens,
            include_prompt_in_result=False,
            **drawing,
        )
        return [int(token) for token in done.sequences_ids[0]]

    return generate
