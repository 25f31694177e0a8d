"""Models of the graph backend as target and as draft; what they do in a round is the hf backend's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

from paceline.backends.graph.engine import GraphEngine
from paceline.backends.torch.draft import ModelDraft
from paceline.backends.torch.target import ModelTarget

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from paceline.backends.graph.options import GraphOptions


class GraphTarget(ModelTarget):
    """A Llama-shaped model whose output is wanted, greedily or drawn.

    Any gamma runs on the CPU, so `capabilities.gammas` is None: lengths are plain integers there, no shape is fixed.

    Args:
        model: A Llama, Mistral, Qwen2 or Qwen3 of transformers, on its device, in its dtype.
        tokenizer: Its tokenizer; without one, prompts are tokens.
        options: See `GraphEngine`.

    Raises:
        BackendError: The model cannot be run (see `GraphEngine`).
    """

    engine: GraphEngine

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: Any = None,
        **options: Unpack[GraphOptions],
    ) -> None:
        super().__init__(GraphEngine(model, **options), tokenizer)


class GraphDraft(ModelDraft):
    """A Llama-shaped model that proposes its own continuation, greedily or drawn.

    Args:
        model: A Llama, Mistral, Qwen2 or Qwen3 of transformers, on its device, in its dtype.
        tokenizer: Its tokenizer, if it should be compared with the target's.
        vocabulary: Propose only tokens below this: the target's `vocabulary`, where it is the smaller one.
        options: See `GraphEngine`.

    Raises:
        BackendError: The model cannot be run (see `GraphEngine`).
    """

    engine: GraphEngine

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: Any = None,
        *,
        vocabulary: int | None = None,
        **options: Unpack[GraphOptions],
    ) -> None:
        super().__init__(
            GraphEngine(model, **options),
            tokenizer,
            vocabulary=vocabulary,
        )
