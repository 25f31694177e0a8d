"""paceline's `graph` backend: plain decoding, a fixed gamma and `auto`, the last two with prompt lookup."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import paceline
from paceline.lab.models import load_models
from paceline.lab.short_names import parse_policy, plain_decoder
from peers.weights import HF

if TYPE_CHECKING:
    from collections.abc import Callable

    from peers.protocol import Request

PLAIN = "plain"
POLICIES = ("static-4", "auto")


def load(models: str, precision: str, threads: int) -> Callable[[Request], list[int]]:
    """Load the target once for all policies, which go on learning from prompt to prompt."""
    catalogue = paceline.Catalogue.load()
    run = paceline.load_config(
        {
            "target": {
                "backend": "graph",
                "model": str(Path(models) / HF),
                "dtype": precision,
                "device": "cpu",
                "threads": threads,
            },
            "drafts": {"lookup": "prompt-lookup"},
        }
    )
    loaded = load_models(run)
    decoders = {name: loaded.under(parse_policy(name, catalogue)) for name in POLICIES}
    decoders[PLAIN] = plain_decoder(loaded, catalogue)

    def generate(request: Request) -> list[int]:
        done = decoders[request.mode].generate(
            request.prompt,
            max_new_tokens=request.tokens,
            sampling=paceline.Sampling(temperature=request.temperature, seed=request.seed),
        )
        tokens = list(done.tokens)
        return tokens[:-1] if tokens and tokens[-1] in loaded.target.eos else tokens

    return generate
