"""Models of transformers, computed by transformers, as targets and drafts: in memory, loaded, or looked at before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from paceline.backends.torch import loading
from paceline.backends.torch.draft import DraftModel
from paceline.backends.torch.host import text_config
from paceline.backends.torch.pages import move_to_large_pages
from paceline.backends.torch.readiness import (
    PROMPT,
    ModelInspection,
    inspect_model,
    with_chat_remark,
    with_pairing,
)
from paceline.backends.torch.target import TargetModel
from paceline.backends.transformers.checks import require_decoder
from paceline.backends.transformers.engine import NODES, TransformersEngine
from paceline.backends.transformers.host.cache import branching_problem

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from paceline.backends.transformers.config import HfConfig
    from paceline.backends.transformers.engine import ModelFacts
    from paceline.core.config.blocks import Readiness
    from paceline.core.config.run import RunConfig
    from paceline.core.protocols import Draft, Target


class HfTarget(TargetModel):
    """A causal language model of transformers, computed by transformers.

    Args:
        model: A decoder-only model, on its device, in its dtype.
        tokenizer: Its tokenizer; without one, prompts are tokens.
        name: What messages call it.
        facts: What is known of the model already (see `TransformersEngine`).

    Raises:
        BackendError: The model cannot be verified against (see `TransformersEngine`).
    """

    engine: TransformersEngine

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: Any = None,
        *,
        name: str | None = None,
        facts: ModelFacts | None = None,
    ) -> None:
        super().__init__(TransformersEngine(model, name=name, facts=facts), tokenizer)


class HfDraft(DraftModel):
    """A causal language model of transformers, computed by transformers.

    Args:
        model: A decoder-only model, on its device, in its dtype.
        tokenizer: Its tokenizer, if it should be compared with the target's.
        vocabulary: Propose only tokens below this: the target's `vocabulary`, where it is the smaller one.
        name: What messages call it.

    Raises:
        BackendError: The model cannot draft (see `TransformersEngine`).
    """

    engine: TransformersEngine

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: Any = None,
        *,
        vocabulary: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(TransformersEngine(model, name=name), tokenizer, vocabulary=vocabulary)


def load_target(config: HfConfig) -> HfTarget:
    """Load a target.

    Raises:
        BackendError: It cannot be loaded or used; says why and what to do.
    """
    loading.set_threads(config)
    return loading.usable(HfTarget(_load_model(config), loading.load_tokenizer(config), name=config.model))


def load_draft(config: HfConfig, target: Target) -> Draft:
    """Load a draft; one that does not speak the target's tokens gets its text re-encoded.

    A pair of which one has no tokenizer is taken at its word.

    Raises:
        BackendError: It cannot be loaded or used.
    """
    loading.keep_threads(config)
    model = _load_model(config)
    draft = HfDraft(model, loading.load_tokenizer(config), vocabulary=target.vocabulary, name=config.model)
    return loading.fitted(loading.usable(draft), target)


def check_target(config: HfConfig, run: RunConfig) -> Readiness:
    """Tell what can be known of a target."""
    inspection = inspect_model(config)
    problem = (
        branching_problem(inspection.model, text_config(inspection.settings), config.attention)
        if inspection.model is not None
        else None
    )
    if problem is not None:
        inspection.remarks.append(f"it reads chains of draft tokens alone, no trees: {problem}")
    known = _checked(inspection, run, nodes=NODES if problem is None else 0)
    return with_chat_remark(known, inspection)


def check_draft(config: HfConfig, run: RunConfig, target: Readiness) -> Readiness:
    """Tell what can be known of a draft for `target`."""
    return with_pairing(_checked(inspect_model(config), run), target)


def _load_model(config: HfConfig) -> Any:
    options = {"attn_implementation": config.attention} if config.attention else {}
    model = loading.load_model(config, **options)
    if config.huge_pages and model.device.type == "cpu":
        move_to_large_pages(model)
    return model


def _checked(inspection: ModelInspection, run: RunConfig, *, nodes: int = 0) -> Readiness:
    if inspection.model is not None:
        inspection.attempt(lambda: require_decoder(inspection.model, inspection.config.model))
    cache = _cache(inspection, PROMPT + run.generation.max_new_tokens)
    return inspection.readiness(cache=cache * max(1, run.generation.prefix_caches or 0), nodes=nodes)


def _cache(inspection: ModelInspection, tokens: int) -> int:
    """Return the bytes of keys and values, as far as the settings name their sizes."""
    if inspection.settings is None:
        return 0
    text = text_config(inspection.settings)
    names = ("num_hidden_layers", "hidden_size", "num_attention_heads")
    layers, hidden, heads = (int(getattr(text, name, 0) or 0) for name in names)
    if not heads:
        return 0
    width = int(getattr(text, "head_dim", 0) or hidden // heads)
    kept = int(getattr(text, "num_key_value_heads", 0) or heads)
    return 2 * layers * kept * width * tokens * inspection.dtype.itemsize
