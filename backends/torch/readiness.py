"""Facts about a model of transformers before its weights are read, by the rules that loading refuses by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import torch

from paceline.backends.torch import loading
from paceline.backends.torch.checkpoint import described, stored_tensors
from paceline.backends.torch.host import text_config
from paceline.backends.torch.load_errors import explained, first_line, untested_release
from paceline.backends.torch.tokenizers import TokenizerCodec, difference
from paceline.core.config.blocks import Readiness
from paceline.core.errors import BackendError
from paceline.core.records import SIGNALS, Capabilities

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from paceline.backends.torch.checkpoint import Tensor
    from paceline.backends.torch.config import ModelConfig

PROMPT: Final = 512
"""Tokens of a prompt that room is reckoned for."""


@dataclass(slots=True)
class ModelInspection:
    """Facts about a model; None for those that could not be seen.

    Attributes:
        problems, remarks: As in `Readiness`.
        device: Where it will be.
        settings: Its config.json.
        stored: The tensors in its files.
        model: What config.json describes, without weights.
        tokenizer: Its tokenizer.
    """

    config: ModelConfig
    problems: list[str]
    remarks: list[str]
    device: torch.device | None = None
    settings: Any = None
    stored: Mapping[str, Tensor] | None = None
    model: Any = None
    tokenizer: Any = None

    def attempt(self, step: Callable[[], Any]) -> Any:
        """Return what a step of loading returns; where it refuses, keep its reason and return None."""
        try:
            with explained(self.config):
                return step()
        except BackendError as refused:
            self.problems.append(str(refused))
            return None

    @property
    def dtype(self) -> torch.dtype:
        """The number format that its weights will have."""
        if self.config.dtype != "auto":
            return getattr(torch, self.config.dtype)  # type: ignore[no-any-return]
        named = getattr(self.settings, "dtype", None)
        return named if isinstance(named, torch.dtype) else torch.float32

    @property
    def weights(self) -> int:
        """Bytes of its weights in memory."""
        if self.model is None:
            return 0
        if getattr(self.settings, "quantization_config", None) is not None and self.stored is not None:
            return sum(tensor.bytes for tensor in self.stored.values())
        return self.dtype.itemsize * sum(int(weight.numel()) for weight in self.model.parameters())

    def readiness(self, *, cache: int, nodes: int = 0) -> Readiness:
        """Return what was seen, with the bytes of weights and a request's cache, and the most nodes of a tree."""
        text = None if self.settings is None else text_config(self.settings)
        memory = {} if self.device is None or self.model is None else {str(self.device): self.weights + cache}
        return Readiness(
            tuple(dict.fromkeys(self.problems)),
            tuple(self.remarks),
            memory,
            Capabilities(sampling=True, nodes=nodes, processors=True),
            codec=None if self.tokenizer is None else TokenizerCodec(self.tokenizer),
            vocabulary=getattr(text, "vocab_size", None),
        )


def _runs_all(_settings: Any) -> None:
    """Refuse no model by its settings: the rest is found out by trying."""


def inspect_model(config: ModelConfig, refuse: Callable[[Any], None] = _runs_all) -> ModelInspection:
    """Look at all that loading looks at before it reads weights, in its order; go on after what it would refuse.

    Args:
        config: Names the model.
        refuse: Raises BackendError where the backend cannot run a model of these settings.
    """
    newer = untested_release()
    inspection = ModelInspection(config, [], [] if newer is None else [newer])
    inspection.device = inspection.attempt(lambda: loading.device_of(config))
    inspection.settings = inspection.attempt(lambda: loading.load_config(config))
    if inspection.settings is None:
        return inspection
    before = len(inspection.problems)
    inspection.attempt(lambda: refuse(inspection.settings))
    inspection.stored = inspection.attempt(lambda: stored_tensors(config, inspection.settings))
    if len(inspection.problems) == before:
        if inspection.stored is None:
            inspection.remarks.append("its weights are not on this machine yet; the run downloads them")
        inspection.model = inspection.attempt(
            lambda: described(config, inspection.settings, inspection.stored)
        )
    inspection.tokenizer = inspection.attempt(lambda: loading.load_tokenizer(config))
    return inspection


def with_chat_remark(known: Readiness, inspection: ModelInspection) -> Readiness:
    """Return what is known of a target, with what its chat template is good for."""
    if inspection.tokenizer is None:
        return replace(known, remarks=(*known.remarks, "it has no tokenizer, so prompts are tokens"))
    if not getattr(inspection.tokenizer, "chat_template", None):
        remark = "it has no chat template, so it goes on with texts and holds no conversations"
        return replace(known, remarks=(*known.remarks, remark))
    try:
        inspection.tokenizer.apply_chat_template(
            [{"role": "user", "content": "a"}], add_generation_prompt=True
        )
    except Exception as problem:  # noqa: BLE001 - a template is a program, and may raise anything
        remark = f"its chat template cannot be used: {first_line(problem)}"
        return replace(known, remarks=(*known.remarks, remark))
    return known


def with_pairing(known: Readiness, target: Readiness) -> Readiness:
    """Return what is known of a draft, with how its tokens and the target's go together."""
    if known.vocabulary is None or target.vocabulary is None:
        return known
    common = min(known.vocabulary, target.vocabulary)
    differ = difference(target, replace(known, vocabulary=common))
    if differ is not None:
        remark = f"its text is re-encoded, since its tokenizer is not the target's: {differ} It offers no signals then"
        return replace(known, remarks=(*known.remarks, remark), signals=frozenset())
    if (known.codec is None or target.codec is None) and known.vocabulary != target.vocabulary:
        remark = (
            f"it has {known.vocabulary} tokens and the target {target.vocabulary}, and without both tokenizers nobody "
            "can tell whether they mean the same"
        )
        return replace(known, remarks=(*known.remarks, remark))
    return replace(known, signals=SIGNALS)
