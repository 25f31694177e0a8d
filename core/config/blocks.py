"""The base of every configuration block a plugin provides: a pydantic model that can build what it describes.

A block's name, options, help and factory live in one class, so they cannot drift apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator

from paceline.core.config.errors import suggest_keys
from paceline.core.errors import short_repr
from paceline.core.records import SIGNALS, Capabilities

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from paceline.core.config.run import RunConfig
    from paceline.core.protocols import Codec, Draft, Policy, Target
    from paceline.core.records import Signal

Role = Literal["target", "draft"]

Generate: TypeAlias = "Callable[[list[int], int], list[int]]"
"""Prompt tokens and a limit in, new tokens out."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Facts about a target or draft before any weight is read.

    What a backend does not know it leaves at its default; nothing is concluded from it then.

    Attributes:
        problems: What would keep it from being built or used, each a sentence with its remedy.
        remarks: What its user should know: a draft whose text is re-encoded, a model without a chat template.
        memory: Bytes that it will need at least, by device as torch names it ("cpu", "cuda:0").
        capabilities: A target's.
        signals: A draft's.
        codec: Its tokenizer; None if it has none, or it is not known.
        vocabulary: The number of its tokens, if known.
    """

    problems: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    memory: Mapping[str, int] = field(default_factory=dict)
    capabilities: Capabilities = field(default_factory=Capabilities)
    signals: frozenset[Signal] = SIGNALS
    codec: Codec | None = None
    vocabulary: int | None = None


class Strict(BaseModel):
    """A frozen pydantic model that refuses keys it does not know, and names the nearest one it knows.

    Defaults are validated like values, so a default may be the bare name of a policy.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    def model_dump(self, **how: Any) -> dict[str, Any]:
        """Return the options as pydantic does; one that JSON has no form for is written as its text."""
        return super().model_dump(**({"fallback": short_repr} | how))

    @model_validator(mode="wrap")
    @classmethod
    def _name_unknown_keys(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(value)
        except ValidationError as error:
            raise suggest_keys(error, cls) from None


class PolicyConfig(Strict):
    """Options of one policy. Subclasses set `name: Literal["x"] = "x"`, add fields, and override `build`."""

    name: str

    def build(self, seed: int = 0) -> Policy:
        """Return a fresh policy that shares no state with any other."""
        raise TypeError(f"{type(self).__name__} does not override build()")


class BackendConfig(Strict):
    """Options of one backend.

    Subclasses set `backend: Literal["x"] = "x"`, `roles`, and override the factories of their roles.
    """

    roles: ClassVar[frozenset[Role]] = frozenset()

    backend: str

    @classmethod
    def missing(cls) -> tuple[str, ...]:
        """Return what this backend lacks on this machine, each a sentence with its remedy; loads nothing."""
        return ()

    def build_target(self) -> Target:
        """Load and return the target."""
        raise TypeError(f"{type(self).__name__} does not override build_target()")

    def build_draft(self, target: Target) -> Draft:
        """Load and return a draft for `target`; refuse with `BackendError` if they do not fit."""
        raise TypeError(f"{type(self).__name__} does not override build_draft()")

    def check_target(self, run: RunConfig) -> Readiness:
        """Return facts about this target before its weights are read, by the rules it is refused by.

        Called by `paceline doctor`, once a run. Optional: by default it tells what is `missing`.

        Args:
            run: The run that it is the target of.
        """
        return Readiness(self.missing())

    def check_draft(self, run: RunConfig, target: Readiness) -> Readiness:
        """Return facts about this draft before its weights are read, by the rules it is refused by.

        Called by `paceline doctor`, once a draft, after the target was asked. Optional, as `check_target`.

        Args:
            run: The run that it is a draft of.
            target: What `check_target` of the run's target said.
        """
        return Readiness(self.missing())

    def reference_modes(self, run: RunConfig, target: Target, draft: Draft | None) -> Mapping[str, Generate]:
        """Return the library's own ways to decode, by name, to be compared with the loop; the first decodes plainly.

        Called by `paceline bench`, once a run, after everything is loaded. Optional: by default there are none.

        Each way takes the prompt's tokens and the most new tokens wanted, and returns the new tokens. It ends where the
        target's sessions would: at the tokens of `eos`, which belong to the text, and at the limit.

        Args:
            run: The run that this is the target's block of; its `generation` says how tokens are chosen.
            target: What `build_target` returned.
            draft: The first draft of the run, for a way that takes one; ways that cannot use it are left out.
        """
        return {}

    @classmethod
    def for_model(cls, model: str) -> BackendConfig | None:  # noqa: ARG003 - for those who override it
        """Return a block for a model as a command line names it, or None where it is none of this backend's kind.

        Called by commands with `--model` and `--draft`, once for each name, whether something is `missing` or not; may
        read the first bytes of a file. What no backend takes goes to those of transformers. Optional: by default it
        takes none.

        Args:
            model: A file, a folder, or whatever else the backend knows models by.
        """
        return None

    @classmethod
    def smallest(cls, folder: Path) -> BackendConfig | None:  # noqa: ARG003 - for those who override it
        """Return a block for the smallest model that this backend can run, or None where it has none to show.

        Called by `paceline doctor`, once, where nothing is `missing`. It builds the block in every role and has it
        generate four tokens. Optional: by default there is none, and the backend is reported as not tried.

        Args:
            folder: Empty; files that the model needs may be written there. It is removed afterwards.
        """
        return None
