"""Training and evaluation mode of models that are lent."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def evaluating(*models: Any) -> Iterator[None]:
    """Put models into evaluation mode, and each of their modules back into its own afterwards."""
    training = [module for model in models for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
