"""The base of every configuration block a plugin provides: a pydantic model that can build what it describes.

A block's name, options, help and factory live in one class, so they cannot drift apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator

from paceline.core.config.problems import suggest_keys

if TYPE_CHECKING:
    from paceline.core.protocols import Draft, Policy, Target

Role = Literal["target", "draft"]


class Strict(BaseModel):
    """A frozen pydantic model that refuses keys it does not know, and names the nearest one it knows.

    Defaults are validated like values, so a default may be the bare name of a policy.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

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
