"""By which names this release of transformers, and a model on it, know the cache of keys and values.

transformers 5.24 calls it `cache` where releases before say `past_key_values`: in `forward` and `generate`, in what
`generate` hands to a decoding loop, and in what that returns. Old names still work there, with a warning.
"""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

from transformers.generation.utils import GenerateDecoderOnlyOutput

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CACHE_NAMES: Final = ("cache", "past_key_values")
"""Names of the cache, the newest first."""


def _first(names: Mapping[str, Any]) -> str | None:
    return next((name for name in CACHE_NAMES if name in names), None)


CACHE: Final = _first({field.name: field for field in fields(GenerateDecoderOnlyOutput)}) or CACHE_NAMES[0]
"""What this release calls the cache in `generate`, in what that hands on, and in what it returns."""


def cache_argument(forward: Callable[..., Any]) -> str | None:
    """Return as what a forward pass takes the cache, None where it takes none.

    A model may be older than the release it runs on, such as one with code of its own.
    """
    return _first(inspect.signature(forward).parameters)


def decoder_output(cache: Any, **values: Any) -> GenerateDecoderOnlyOutput:
    """Return what `generate` returns with `return_dict_in_generate`."""
    return GenerateDecoderOnlyOutput(**values, **{CACHE: cache})
