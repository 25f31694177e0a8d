"""The `hf` backend's block in a configuration."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from paceline.backends.torch.config import ModelConfig
from paceline.core.config.blocks import Role


class HfConfig(ModelConfig):
    """A causal language model of Hugging Face transformers, from the hub or a folder.

    What a model's own generation settings ask for beyond its end-of-sequence tokens (repetition penalty, sampling) is
    not applied: how tokens are chosen is said in the run's `generation` block. `threads` of a
    target sets the number of torch's CPU threads for the whole process; that of a draft is not used.
    """

    roles: ClassVar[frozenset[Role]] = frozenset({"target", "draft"})
    loading = "paceline.backends.transformers.models"
    checking = "paceline.backends.transformers.models"

    backend: Literal["hf"] = "hf"
    dtype: Literal["auto", "float32", "float64", "bfloat16", "float16"] = Field(
        default="auto", description="Number format of the weights; auto is the one they are stored in."
    )
    threads: int | None = Field(
        default=None, ge=1, description="CPU threads of torch, by the target's block; null leaves them alone."
    )
    attention: str | None = Field(default=None, description="Attention implementation: eager, sdpa, ...")
