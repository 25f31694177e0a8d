"""The backends that come with paceline, registered through the hook that third parties use.

Only configuration blocks are imported here; a backend's library is loaded when a model is built.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.backends.embedded.config import EmbeddedConfig
from paceline.backends.graph.config import GraphConfig
from paceline.backends.prompt_lookup import PromptLookupConfig
from paceline.backends.suffix.draft import SuffixConfig
from paceline.backends.toy import ToyConfig
from paceline.backends.transformers.config import HfConfig
from paceline.core.plugins.hooks import impl

if TYPE_CHECKING:
    from collections.abc import Iterable

    from paceline.core.config.blocks import BackendConfig


@impl
def register_backends() -> Iterable[type[BackendConfig]]:
    """Return the configuration blocks of the built-in backends."""
    return [EmbeddedConfig, GraphConfig, HfConfig, PromptLookupConfig, SuffixConfig, ToyConfig]
