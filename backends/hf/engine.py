"""A causal language model of transformers, seen as: feed tokens after a cache, get logits.

Batch 1, no padding: positions and masks follow from the length of the cache, so neither is ever passed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from paceline.backends.hf.finite import require_finite
from paceline.backends.hf.host.cache import cache_argument, new_cache
from paceline.backends.hf.host.model import (
    end_tokens,
    is_encoder_decoder,
    keeps_logits,
    most_positions,
    text_config,
)
from paceline.backends.hf.host.release import release_named
from paceline.backends.hf.identity import identity
from paceline.backends.hf.rollback import require_rollback
from paceline.core.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel

    from paceline.backends.hf.model import Cache


class Engine:
    """One loaded model, shared by all its sessions; holds no state of a request.

    Args:
        model: A decoder-only model of transformers; it is put into evaluation mode.
        name: What messages call it; its own `name_or_path` if None.

    Raises:
        BackendError: The model is no causal language model, or its cache cannot be rolled back.
    """

    backend = "hf"

    @release_named()
    def __init__(self, model: PreTrainedModel, *, name: str | None = None) -> None:
        self.model = model
        self.name = name or getattr(model, "name_or_path", "") or type(model).__name__
        self.config: Any = text_config(model.config)
        self._cache_name = cache_name_of(model, self.name)
        self._keeps_logits = keeps_logits(model)
        # Dropout would make the output depend on how it is computed.
        model.eval()
        self.device = model.get_input_embeddings().weight.device
        self.vocabulary = self._count_tokens()
        require_rollback(self)

    def _count_tokens(self) -> int:
        """Return the number of logits, which is the true vocabulary, padding included."""
        try:
            logits = self.feed(self.new_cache(), [0])
        except (AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError) as problem:
            if isinstance(problem, torch.OutOfMemoryError):
                raise
            raise BackendError(
                f"hf: {self.name} ({type(self.model).__name__}) cannot read a single token on {self.device} as "
                f"{self.model.dtype}: {problem}. Try another dtype, device or attention implementation."
            ) from problem
        require_finite(logits, self)
        return int(logits.shape[-1])

    @property
    def identity(self) -> str:
        """Name, version, number format and kind of device."""
        return identity(self.name, self.model, self.device)

    @property
    def max_context(self) -> int | None:
        """The longest sequence the model has positions for, or None when there is no limit."""
        return most_positions(self.config)

    @property
    def eos(self) -> frozenset[int]:
        """The tokens that end a text, from the generation configuration, else from the model's own."""
        return end_tokens(self.model, self.config)

    def new_cache(self) -> Cache:
        """Return an empty cache."""
        return new_cache(self.config)  # type: ignore[no-any-return]

    def free(self, cache: Cache) -> None:
        """Be told that a cache is not needed any longer; its memory goes with it."""

    @torch.inference_mode()
    def feed(self, cache: Cache, tokens: Sequence[int] | torch.Tensor, rows: int = 1) -> torch.Tensor:
        """Append tokens to the cache; return the logits after the last `rows` of them.

        Args:
            cache: Grows by the tokens.
            tokens: Plain integers, or a device tensor of shape (1, tokens).
            rows: At least 1.

        Returns:
            Logits in the model's own precision, shape (rows, vocabulary).
        """
        ids = tokens if isinstance(tokens, torch.Tensor) else torch.tensor([tokens], device=self.device)
        keep = {"logits_to_keep": rows} if self._keeps_logits else {}
        past = {self._cache_name: cache}
        logits = self.model(input_ids=ids, **past, use_cache=True, return_dict=True, **keep).logits
        return logits[0, -rows:]  # type: ignore[no-any-return]


def cache_name_of(model: Any, name: str) -> str:
    """Return as what a model takes its cache; its weights need not be there.

    Raises:
        BackendError: It is no decoder-only language model, or takes no cache; `name` is what messages call it.
    """
    if is_encoder_decoder(model):
        raise BackendError(
            f"hf: {name} ({type(model).__name__}) is an encoder-decoder model; only decoder-only models "
            "are supported. Use a causal language model such as Llama, Qwen or GPT-2."
        )
    found = cache_argument(model.forward)
    if found is None or model.get_output_embeddings() is None:
        raise BackendError(
            f"hf: {name} ({type(model).__name__}) has no language-model head over a key-value cache, so its "
            "last tokens cannot be taken back after a rejection. Recurrent models (Mamba, RWKV) are not "
            "supported; use a causal language model with attention layers."
        )
    return found
