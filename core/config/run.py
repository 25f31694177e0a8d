"""A whole run: target, drafts, policy, generation; what stands in a run file."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator

from paceline.core.config.blocks import Strict
from paceline.core.config.errors import problem
from paceline.core.config.resolve import AnyPolicy, DraftBackend, TargetBackend
from paceline.core.sampling import MIN_TEMPERATURE, Sampling
from paceline.core.stopping import stop_strings

if TYPE_CHECKING:
    from paceline.core.decoder import SpeculativeDecoder
    from paceline.core.observing import RequestObserver
    from paceline.core.protocols import Clock

SERVED_PREFIXES = 4
"""Caches of finished requests that a server keeps: a few conversations that go on, at the memory of their texts."""

DRAFT_NAME = "[A-Za-z][A-Za-z0-9_-]*"
"""Names that a draft may have."""


def _number(value: object) -> object:
    """Refuse booleans, which Python and YAML are quick to take for 0 and 1."""
    if isinstance(value, bool):
        raise problem("number_type", "should be a number", value)
    return value


def _temperature(value: float) -> float:
    if value != 0.0 and not MIN_TEMPERATURE <= value < math.inf:
        raise problem("temperature", f"should be 0.0 (greedy decoding), or {MIN_TEMPERATURE} and more", value)
    return value


def _drawn(value: float | None, info: ValidationInfo) -> float | None:
    """Refuse what would do nothing; without a temperature the user may take the text for a sample."""
    if value is not None and info.data.get("temperature") == 0.0:
        message = "has no effect at temperature 0.0, which is greedy; set `temperature` as well, or leave this key out"
        raise problem("greedy", message, value)
    return value


def _draft_name(name: str) -> str:
    if not re.fullmatch(DRAFT_NAME, name):
        message = "not a name for a draft; start with a letter, go on with letters, digits, _ and -"
        raise problem("draft_name", message, name)
    return name


def _stop_string(text: str) -> str:
    try:
        stop_strings((text,))
    except ValueError:
        raise problem("stop_string", "should be text, not empty and without U+FFFD", text) from None
    return text


class GenerationConfig(Strict):
    """Settings of a generation: how much text, and how, greedily at temperature 0.0, else drawn as `Sampling` says.

    A text ends with the token that completes one of the strings in `stop`; the string stays in the text. Each model of
    `paceline.load` keeps at most `prefix_caches` caches of finished requests for prompts that begin alike; without a
    number, only where conversations are held. Nothing that measures keeps any.
    """

    max_new_tokens: Annotated[int, Field(ge=1), BeforeValidator(_number)] = 256
    temperature: Annotated[
        float, Field(ge=0.0, allow_inf_nan=False), BeforeValidator(_number), AfterValidator(_temperature)
    ] = 0.0
    top_k: Annotated[Annotated[int, Field(ge=1)] | None, BeforeValidator(_number), AfterValidator(_drawn)] = (
        None
    )
    top_p: Annotated[
        Annotated[float, Field(gt=0.0, le=1.0)] | None, BeforeValidator(_number), AfterValidator(_drawn)
    ] = None
    min_p: Annotated[
        Annotated[float, Field(ge=0.0, le=1.0)] | None, BeforeValidator(_number), AfterValidator(_drawn)
    ] = None
    typical_p: Annotated[
        Annotated[float, Field(gt=0.0, lt=1.0)] | None, BeforeValidator(_number), AfterValidator(_drawn)
    ] = None
    repetition_penalty: Annotated[float, Field(gt=0.0, allow_inf_nan=False), BeforeValidator(_number)] = 1.0
    seed: Annotated[int, BeforeValidator(_number)] = 0
    stop: tuple[
        Annotated[str, AfterValidator(_stop_string), Field(json_schema_extra={"minLength": 1})], ...
    ] = ()

    prefix_caches: Annotated[Annotated[int, Field(ge=0)] | None, BeforeValidator(_number)] = None

    def sampling(self) -> Sampling:
        """Return how tokens are drawn."""
        return Sampling(**self.model_dump(exclude={"max_new_tokens", "stop", "prefix_caches"}))


def with_defaults(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data of a run with target, drafts and policy filled in; a key without a value counts as absent.

    Without a target the embedded pair is used. Prompt lookup fits every vocabulary and costs next to nothing, so it is
    there by default: beside the small draft of the embedded pair, alone with another target.
    """
    filled = {key: value for key, value in data.items() if value is not None}
    lookup = {"lookup": {"backend": "prompt-lookup"}}
    small = {} if "target" in filled else {"small": {"backend": "embedded", "size": "small"}}
    filled.setdefault("drafts", small | lookup)
    filled.setdefault("target", {"backend": "embedded"})
    filled.setdefault("policy", {"name": "auto"})
    return filled


class RunConfig(Strict):
    """A run: which target, which drafts, which policy.

    Attributes:
        target: The model whose output is wanted.
        drafts: What proposes tokens for it, by name; the first one is the default. None at all is plain decoding.
        policy: Decides draft and gamma of each round.
        generation: How much text is produced, and how.
        trace: File that finished rounds are written to, one JSON object a line; relative to the current directory.
        on_policy_error: What happens when a policy breaks its contract: stop, or go on with plain decoding.
        scope: A fresh policy for each request, one that goes on learning for the whole session, or one for all
            decoders of this run in the process.
        state: File that what policies learn is kept in over restarts; relative to the current directory.
    """

    target: TargetBackend
    drafts: dict[Annotated[str, AfterValidator(_draft_name)], DraftBackend]
    policy: AnyPolicy
    generation: GenerationConfig = GenerationConfig()
    trace: Path | None = None
    on_policy_error: Literal["raise", "fallback"] = "raise"
    scope: Literal["request", "session", "process"] = "session"
    state: Path | None = None

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: Any, info: ValidationInfo) -> Any:
        del info
        return with_defaults(data) if isinstance(data, Mapping) else data

    def for_service(self) -> RunConfig:
        """Return the run as servers run it, where it does not say otherwise.

        A policy that fails costs speed and no request, and conversations go on from kept caches.
        """
        changes: dict[str, Any] = {}
        if "on_policy_error" not in self.model_fields_set:
            changes["on_policy_error"] = "fallback"
        if self.generation.prefix_caches is None:
            changes["generation"] = self.generation.model_copy(update={"prefix_caches": SERVED_PREFIXES})
        return self.model_copy(update=changes)

    def build(
        self,
        *,
        clock: Clock | None = None,
        interleaved: bool = False,
        observer: RequestObserver | None = None,
    ) -> SpeculativeDecoder:
        """Load the models and return a decoder that is ready to generate; its arguments are the decoder's own.

        Raises:
            BackendError: A backend cannot load its model, or a draft does not fit the target.
            PluginError: What a plugin provides cannot be made.
            CapabilityError: The policy needs what the engine cannot do.
        """
        from paceline.core.decoder import SpeculativeDecoder  # noqa: PLC0415  # reading a file needs no loop
        from paceline.core.plugins.catalogue import build_draft, build_target  # noqa: PLC0415
        from paceline.core.state.scope import scoped_policy  # noqa: PLC0415
        from paceline.core.trace import TraceWriter  # noqa: PLC0415

        target = build_target(self.target)
        drafts = {name: build_draft(draft, target) for name, draft in self.drafts.items()}
        trace = (
            None if self.trace is None else TraceWriter(self.trace, {"config": self.model_dump(mode="json")})
        )
        learns = scoped_policy(self, target, drafts)
        return SpeculativeDecoder(
            target,
            drafts,
            learns.policy,
            costs=learns.costs,
            clock=clock,
            trace=trace,
            on_policy_error=self.on_policy_error,
            max_new_tokens=self.generation.max_new_tokens,
            sampling=self.generation.sampling(),
            stop=self.generation.stop,
            restore=learns.restore,
            turn=learns.turn,
            interleaved=interleaved,
            observer=observer,
            prefix_caches=self.generation.prefix_caches,
        )
