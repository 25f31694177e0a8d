"""The `graph` backend's block in a configuration."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from paceline.backends.torch.config import ModelConfig
from paceline.core.config.blocks import Role


class GraphConfig(ModelConfig):
    """A Llama, Mistral, Qwen2 or Qwen3 of Hugging Face transformers, run by code of our own that is made for rounds.

    A session has room for `max_context` tokens, 2 * layers * kv_heads * head_dim numbers for each: a GPU gives it when
    the session begins, a CPU as it is filled.
    Other models need `backend: hf`. `threads` of a target sets the number of torch's CPU threads for the whole process;
    that of a draft is not used.
    """

    roles: ClassVar[frozenset[Role]] = frozenset({"target", "draft"})
    loading = "paceline.backends.graph.models"
    checking = "paceline.backends.graph.models"

    backend: Literal["graph"] = "graph"
    dtype: Literal["auto", "float32", "float64", "bfloat16", "float16", "int8"] = Field(
        default="auto",
        description="Number format of the weights; auto is the one they are stored in, int8 is made of it (CPU only).",
    )
    threads: Annotated[int, Field(ge=1)] | Literal["auto"] | None = Field(
        default="auto",
        description="CPU threads of torch, by the target's block; auto tries how many are fastest, null keeps them.",
    )
    max_context: int | None = Field(
        default=None,
        ge=1,
        description="The longest prompt + output; null is what the model was made for, at most 4096.",
    )
    deterministic: bool = Field(
        default=False,
        description="Promise the same bits whatever is drafted; float32, bfloat16 and int8 on the CPU, tried before.",
    )
