"""Models with random weights in the shapes of Llama 3 8B and of a draft of 1B; times do not depend on the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from paceline.backends.graph.cuda.buffers import BufferPool
from paceline.backends.graph.cuda.target import CudaTarget, TargetBuffers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paceline.backends.graph.cuda.engine import BlockEngine


class ImposedBuffers(TargetBuffers):
    """Buffers whose verification tosses a coin for each proposed token, on the device."""

    draws = True

    def __init__(self, engine: BlockEngine, rate: float) -> None:
        super().__init__(engine)
        self._rate = rate

    def agreed(self, target_tokens: torch.Tensor, guess: torch.Tensor) -> torch.Tensor:
        """Accept by lot, and put what is accepted in the place of the target's own choice."""
        tossed = self.certain.new_empty(len(guess)).uniform_(generator=self.rng.generator) < self._rate
        target_tokens.copy_(guess.where(tossed, target_tokens))
        return tossed


class ImposedTarget(CudaTarget):
    """A target whose output is INVALID: of the draft's tokens it accepts each with probability `rate`.

    Random weights make no draft that agrees with its target, so a stated share of the draft's tokens is accepted
    whatever they are: the work of every round is real, the text is not. All that is reported of it says `imposed`.
    """

    def __init__(self, engine: BlockEngine, rate: float) -> None:
        super().__init__(engine)
        self.pool = BufferPool(lambda: ImposedBuffers(engine, rate), engine.runner)


_LLAMA: Final = {
    "rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0},
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
    "tie_word_embeddings": False,
}

SHAPES: Final[Mapping[str, Mapping[str, int]]] = {
    "8B": {
        "vocab_size": 128_256,
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
    "1B": {
        "vocab_size": 128_256,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
    "tiny": {
        "vocab_size": 96,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
}


@dataclass(frozen=True, slots=True)
class Setting:
    """Models, texts and repeats to measure with.

    Attributes:
        target, draft: Names in `SHAPES`.
        device: Of torch.
        context: Tokens that caches have room for.
        prompt: Tokens of the prompt.
        new: Tokens written in each run.
        repeats: Runs of each mode, taking turns.
        passes: Passes that one time is the mean of.
    """

    target: str
    draft: str
    device: str
    context: int
    prompt: int
    new: int
    repeats: int
    passes: int


FULL: Final = Setting("8B", "1B", "cuda", context=8192, prompt=512, new=128, repeats=3, passes=20)
TINY: Final = Setting("tiny", "tiny", "cpu", context=128, prompt=16, new=24, repeats=1, passes=2)


def random_model(shape: str, setting: Setting, seed: int) -> Any:
    """Return a model in bfloat16 on the device."""
    config = LlamaConfig(**SHAPES[shape], **_LLAMA, max_position_embeddings=setting.context)
    with torch.random.fork_rng(), torch.device(setting.device):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.generation_config.eos_token_id = None
    return model.eval()


def weight_bytes(model: Any) -> int:
    """Return the bytes that a pass has to read: all weights but the embedding, of which it reads a row a token."""
    embedding = model.get_input_embeddings().weight
    return sum(x.numel() * x.element_size() for x in model.parameters() if x is not embedding)
