"""Adaptation policies for speculative decoding: how far to draft, with which draft, and when not to.

These are the public names, which load on first use. Everything else may change between minor versions. What measures
policies is in `paceline.lab`, and what plugin authors need for their tests in `paceline.testing`.
"""

from __future__ import annotations

import typing as _typing

from paceline.core.lazy import lazy as _lazy

if _typing.TYPE_CHECKING:
    from paceline.core.base_policy import BasePolicy, MergeablePolicy
    from paceline.core.batch import BatchDecoder, BatchRequest
    from paceline.core.cache_tracker import CacheTracker
    from paceline.core.clock import CostTableClock, RecordedClock, WallClock
    from paceline.core.codecs import tokenizer_difference
    from paceline.core.config.blocks import BackendConfig, PolicyConfig, Readiness, Role
    from paceline.core.config.load import load, load_config
    from paceline.core.config.resolve import AnyBackend, AnyPolicy
    from paceline.core.config.run import GenerationConfig, RunConfig
    from paceline.core.config.schema import json_schema
    from paceline.core.conversation import Conversation
    from paceline.core.costs import CostTable, LiveCosts
    from paceline.core.decoder import SpeculativeDecoder
    from paceline.core.environment import cpu_model
    from paceline.core.errors import (
        BackendError,
        CapabilityError,
        ClosedError,
        ConfigError,
        ContractError,
        DeadlineError,
        PacelineError,
        PluginError,
        QueueFullError,
        TargetError,
        TraceError,
    )
    from paceline.core.files import private_folder
    from paceline.core.fused import FusedCosts, StepCosts
    from paceline.core.generation import Failure, Generation, Tally, Totals
    from paceline.core.gguf import gguf_file
    from paceline.core.guards.policy import PolicyGuard, check_fit
    from paceline.core.json_text import is_text
    from paceline.core.observing import ObservedRequest, RequestObserver
    from paceline.core.optional_protocols import (
        BatchDraft,
        BatchPolicy,
        BatchPriced,
        BatchTarget,
        Identified,
        Memoryless,
        Mergeable,
        Remembering,
        SampledDraft,
        SampledTarget,
        Shareable,
        SupportsChat,
        SupportsMatchLength,
        SupportsPerplexity,
        SupportsPrefixReuse,
        SupportsScoring,
        SupportsTrees,
        SupportsTreeVerification,
        TreeProposal,
        TreeVerdict,
    )
    from paceline.core.plugins.catalogue import Catalogue
    from paceline.core.plugins.hooks import impl as hookimpl
    from paceline.core.prefixes import KeptPrefixes, PrefixReuse
    from paceline.core.processors import AllowedTokens, LogitBias, LogitsProcessor, process_row
    from paceline.core.proposals import (
        DraftControl,
        SampledProposal,
        TokenProposal,
        TokenVerdict,
        verify_greedy,
    )
    from paceline.core.protocols import (
        Clock,
        Codec,
        Costs,
        Draft,
        DraftSession,
        Policy,
        Proposal,
        Session,
        Target,
        TargetSession,
        Verdict,
        Work,
    )
    from paceline.core.records import (
        SIGNALS,
        Capabilities,
        DraftState,
        Ended,
        Plan,
        Requirements,
        Round,
        RoundStart,
        Signal,
        StopRule,
        TokenSignals,
        TreeOutcome,
        finish_round,
    )
    from paceline.core.rejection_sampling import Rng, SeededRng, rejection_sample, rejection_sample_tree
    from paceline.core.sampling import RequestOptions, Sampling
    from paceline.core.state.declared import Fixed, PolicyState, Summed, Unsaved
    from paceline.core.state.key import StateKey
    from paceline.core.state.store import StateStore
    from paceline.core.stopping import StopCriterion
    from paceline.core.streaming import TextStream
    from paceline.core.target_text import TargetText
    from paceline.core.trace import Trace, TracedRequest, TraceWriter, read_trace
    from paceline.core.trees import (
        Branch,
        Drawn,
        Listed,
        PathVerdict,
        TokenTree,
        grow_tree,
        verify_tree_greedy,
    )
    from paceline.serving.async_decoder import AsyncDecoder

__all__ = [
    "SIGNALS",
    "AllowedTokens",
    "AnyBackend",
    "AnyPolicy",
    "AsyncDecoder",
    "BackendConfig",
    "BackendError",
    "BasePolicy",
    "BatchDecoder",
    "BatchDraft",
    "BatchPolicy",
    "BatchPriced",
    "BatchRequest",
    "BatchTarget",
    "Branch",
    "CacheTracker",
    "Capabilities",
    "CapabilityError",
    "Catalogue",
    "Clock",
    "ClosedError",
    "Codec",
    "ConfigError",
    "ContractError",
    "Conversation",
    "CostTable",
    "CostTableClock",
    "Costs",
    "DeadlineError",
    "Draft",
    "DraftControl",
    "DraftSession",
    "DraftState",
    "Drawn",
    "Ended",
    "Failure",
    "Fixed",
    "FusedCosts",
    "Generation",
    "GenerationConfig",
    "Identified",
    "KeptPrefixes",
    "Listed",
    "LiveCosts",
    "LogitBias",
    "LogitsProcessor",
    "Memoryless",
    "Mergeable",
    "MergeablePolicy",
    "ObservedRequest",
    "PacelineError",
    "PathVerdict",
    "Plan",
    "PluginError",
    "Policy",
    "PolicyConfig",
    "PolicyGuard",
    "PolicyState",
    "PrefixReuse",
    "Proposal",
    "QueueFullError",
    "Readiness",
    "RecordedClock",
    "Remembering",
    "RequestObserver",
    "RequestOptions",
    "Requirements",
    "Rng",
    "Role",
    "Round",
    "RoundStart",
    "RunConfig",
    "SampledDraft",
    "SampledProposal",
    "SampledTarget",
    "Sampling",
    "SeededRng",
    "Session",
    "Shareable",
    "Signal",
    "SpeculativeDecoder",
    "StateKey",
    "StateStore",
    "StepCosts",
    "StopCriterion",
    "StopRule",
    "Summed",
    "SupportsChat",
    "SupportsMatchLength",
    "SupportsPerplexity",
    "SupportsPrefixReuse",
    "SupportsScoring",
    "SupportsTreeVerification",
    "SupportsTrees",
    "Tally",
    "Target",
    "TargetError",
    "TargetSession",
    "TargetText",
    "TextStream",
    "TokenProposal",
    "TokenSignals",
    "TokenTree",
    "TokenVerdict",
    "Totals",
    "Trace",
    "TraceError",
    "TraceWriter",
    "TracedRequest",
    "TreeOutcome",
    "TreeProposal",
    "TreeVerdict",
    "Unsaved",
    "Verdict",
    "WallClock",
    "Work",
    "check_fit",
    "cpu_model",
    "finish_round",
    "gguf_file",
    "grow_tree",
    "hookimpl",
    "is_text",
    "json_schema",
    "load",
    "load_config",
    "private_folder",
    "process_row",
    "read_trace",
    "rejection_sample",
    "rejection_sample_tree",
    "tokenizer_difference",
    "verify_greedy",
    "verify_tree_greedy",
]


_load, __dir__ = _lazy(__name__)


def __getattr__(name: str) -> object:
    """Look up a public name, and the metadata in which `__version__` stands."""
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - it takes longer to load than all else here

        return version("paceline")
    return _load(name)
