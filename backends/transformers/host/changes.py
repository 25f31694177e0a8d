"""Changes that somebody made to a model: some only its own forward pass honours, and some its weights alone show.

torch keeps hooks, replaced methods and counts of changes in places that no page describes.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import torch
import transformers
from torch.nn.modules import module as nn_module
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

CAPTURING: Final = "transformers.utils.output_capturing"
"""Hooks of this module stay on a model that was once asked for hidden states, and do nothing before it is again."""

ATTENTION: Final = frozenset({"eager", "sdpa"})
"""Kinds of attention that compute what they are meant to, and nothing else."""


def alteration(model: Any) -> str | None:
    """Say what would be lost if other code ran the weights of a model; None where nothing would."""
    return next(_alterations(model), None)


def _alterations(model: Any) -> Iterator[str]:
    kind = type(model)
    if getattr(transformers, kind.__name__, None) is not kind:
        yield f"it is a {_named(kind)}, which is no class of transformers itself"
    if nn_module._global_forward_hooks or nn_module._global_forward_pre_hooks:  # noqa: SLF001 - see above
        yield "forward hooks are registered for all modules"
    if torch.is_autocast_enabled(model.device.type):
        yield "torch.autocast is on, which converts numbers on the way"
    attention = str(model.config._attn_implementation)  # noqa: SLF001 - there is no public way to read it
    eager = getattr(sys.modules[kind.__module__], "eager_attention_forward", None)
    if attention not in ATTENTION or not _theirs(ALL_ATTENTION_FUNCTIONS.get(attention, eager)):
        yield f"its attention is not the {' or '.join(sorted(ATTENTION))} of transformers, but {attention!r}"
    for name, module in model.named_modules():
        place = name or "the model"
        yield from (f"{place} {problem}" for problem in _of_module(module, kind.__module__))
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        if type(tensor) not in {torch.nn.Parameter, torch.Tensor}:
            yield f"{name} is a {_named(type(tensor))}"
        if tensor.is_inference():
            yield f"{name} was made in inference mode, where nobody counts its changes"


def _of_module(module: Any, family: str) -> Iterator[str]:
    kind = type(module)
    if kind.__module__ not in {family, "transformers.activations"} and not _of_torch(kind.__module__):
        yield f"is a {_named(kind)}"
    hooks = chain(module._forward_hooks.values(), module._forward_pre_hooks.values())  # noqa: SLF001 - see above
    if any(getattr(hook, "__module__", None) != CAPTURING for hook in hooks):
        yield "has a forward hook"
    replaced = next(
        (name for name, own in vars(module).items() if callable(own) and hasattr(kind, name)), None
    )
    if replaced is not None:
        yield f"has another {replaced} than its class"
    for method in (kind.forward, kind.__call__):
        if not _theirs(method):
            yield "has a class whose forward pass was replaced"


def _of_torch(name: str) -> bool:
    return name.startswith("torch.nn.modules.")


def _named(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _theirs(method: Any) -> bool:
    """Tell whether a method, and all that it wraps, is code of torch or transformers.

    Decorators copy the name of the module that is wrapped, so it is asked where each was written.
    """
    while method is not None:
        place = str(getattr(method, "__globals__", {}).get("__name__", ""))
        if not place.startswith(("torch.nn.modules.", "torch.utils.", "transformers.")):
            return False
        method = getattr(method, "__wrapped__", None)
    return True


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprint:
    """Marks that tell whether a model is what it was; keeps nothing of it alive.

    Attributes:
        facts: Of each tensor its place, its form and torch's count of changes; of each module its class and numbers.
        sample: One number or more of each row of each tensor.
    """

    facts: tuple[object, ...]
    sample: torch.Tensor

    def matches(self, other: Fingerprint) -> bool:
        """Tell whether nothing has changed in between, as far as can be told without reading all weights."""
        return self.facts == other.facts and torch.equal(self.sample, other.sample)


@torch.no_grad()
def fingerprint(model: Any) -> Fingerprint:
    """Return the marks of a model that has no `alteration`.

    Writing through `.data`, as peft does when it merges an adapter, is not counted by torch. So numbers are compared as
    well, at least one of each row of a matrix: that takes a tenth of the time of a pass.
    """
    tensors = [*model.parameters(), *model.buffers()]
    counted = ((t.data_ptr(), t._version, t.shape, t.stride(), t.dtype) for t in tensors)  # noqa: SLF001 - see above
    numbers = (
        (
            type(module),
            tuple((name, own) for name, own in vars(module).items() if isinstance(own, int | float | str)),
        )
        for module in model.modules()
    )
    return Fingerprint((*counted, *numbers), torch.cat([_sample(tensor) for tensor in tensors]))


def _sample(tensor: torch.Tensor) -> torch.Tensor:
    """Return every n-th number, n being one less than a row is long: none of the rows is left out."""
    step = max(1, tensor.shape[-1] - 1) if tensor.dim() > 1 else 1
    return tensor.detach().reshape(-1)[::step]
