"""The `toy` backend's block in a configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, Literal, Self

from pydantic import Field

from paceline.backends.toy.models import ToyDraft, ToyTarget
from paceline.core.config.blocks import BackendConfig, Readiness, Role
from paceline.core.errors import BackendError
from paceline.core.protocols import Target

if TYPE_CHECKING:
    from pathlib import Path

    from paceline.core.config.run import RunConfig

OTHER_TARGET: Final = "a toy draft knows only toy targets; use `backend: prompt-lookup` with this target"


class ToyConfig(BackendConfig):
    """A table model in pure Python: a target that writes nonsense, and drafts that often guess it."""

    roles: ClassVar[frozenset[Role]] = frozenset({"target", "draft"})

    backend: Literal["toy"] = "toy"
    seed: int = Field(default=0, description="Which table; target and draft of one run use the target's.")
    agreement: float = Field(
        default=0.8, ge=0, le=1, description="Draft: share of positions where it is right."
    )
    eos_share: float = Field(
        default=0.0, ge=0, le=1, description="Target: share of contexts that end the text."
    )
    step_s: float = Field(default=0.0, ge=0, description="Seconds to wait in each forward pass.")

    def check_draft(self, run: RunConfig, target: Readiness) -> Readiness:
        """Tell whether the target is a toy as well."""
        del target
        return Readiness(() if isinstance(run.target, ToyConfig) else (OTHER_TARGET,))

    @classmethod
    def smallest(cls, folder: Path) -> Self:
        """Return the block without options."""
        del folder
        return cls()

    def build_target(self) -> ToyTarget:
        """Return the table target."""
        return ToyTarget(seed=self.seed, eos_share=self.eos_share, step_s=self.step_s)

    def build_draft(self, target: Target) -> ToyDraft:
        """Return a draft that guesses a toy target."""
        if not isinstance(target, ToyTarget):
            raise BackendError(OTHER_TARGET)
        return ToyDraft(target, agreement=self.agreement, step_s=self.step_s)
