"""The `embedded` backend's block in a configuration: the pair shipped inside the package, on the CPU by default."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, Literal, Self

from pydantic import Field

from paceline.backends.graph.config import GraphConfig
from paceline.backends.torch.config import ModelConfig
from paceline.backends.torch.load_errors import missing_libraries
from paceline.backends.transformers.config import HfConfig
from paceline.core.config.blocks import BackendConfig, Readiness, Role
from paceline.core.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from paceline.core.config.blocks import Generate
    from paceline.core.config.run import RunConfig
    from paceline.core.protocols import Draft, Target

WEIGHTS: Final = Path(__file__).resolve().parent / "weights"
FOLDERS: Final = {"target": "target", "small": "draft-small", "medium": "draft-medium"}

Size = Literal["target", "small", "medium"]


class EmbeddedConfig(BackendConfig):
    """One of the three small models shipped with paceline.

    They are trained on Python code and documentation: good for trying policies and measuring speed, not for their text.
    """

    roles: ClassVar[frozenset[Role]] = frozenset({"target", "draft"})

    backend: Literal["embedded"] = "embedded"
    size: Size | None = Field(
        default=None, description="Which of the models; null is target as a target, small as a draft."
    )
    engine: Literal["graph", "hf"] = Field(
        default="graph", description="The backend that runs it: the faster one, or transformers itself."
    )
    threads: int = Field(default=1, ge=1, description="CPU threads of torch, for the whole process.")
    dtype: Literal["float32", "float64", "bfloat16"] = Field(
        default="float32", description="Number format to compute in; the weights are stored in bfloat16."
    )
    device: str = Field(default="cpu", description="A torch device; auto is cuda if there.")

    @classmethod
    def missing(cls) -> tuple[str, ...]:
        """Return which libraries or weights are absent."""
        absent = [
            folder for folder in FOLDERS.values() if not (WEIGHTS / folder / "model.safetensors").exists()
        ]
        weights = (
            (f"the weights of {', '.join(absent)} are not installed; reinstall paceline",) if absent else ()
        )
        return (*missing_libraries(), *weights)

    def build_target(self) -> Target:
        """Load the target and the tokenizer of the family.

        Raises:
            BackendError: torch or transformers is missing, or the weights are.
        """
        with self._named():
            return self.source("target").build_target()

    def build_draft(self, target: Target) -> Draft:
        """Load a draft for `target`.

        Raises:
            BackendError: As for the target, or `target` uses another tokenizer.
        """
        with self._named():
            return self.source("small").model_copy(update={"threads": None}).build_draft(target)

    def check_target(self, run: RunConfig) -> Readiness:
        """Tell what the engine's own block tells."""
        if self.missing():
            return Readiness(self.missing())
        with self._named():
            known = self.source("target").check_target(run)
        return replace(known, problems=tuple(map(self._own, known.problems)))

    def check_draft(self, run: RunConfig, target: Readiness) -> Readiness:
        """Tell what the engine's own block tells."""
        if self.missing():
            return Readiness(self.missing())
        with self._named():
            known = self.source("small").check_draft(run, target)
        return replace(known, problems=tuple(map(self._own, known.problems)))

    def reference_modes(self, run: RunConfig, target: Target, draft: Draft | None) -> Mapping[str, Generate]:
        """Return transformers' own ways to decode."""
        source = self.source("target")
        drafts = {
            name: block.source("small") if isinstance(block, EmbeddedConfig) else block
            for name, block in run.drafts.items()
        }
        return source.reference_modes(
            run.model_copy(update={"target": source, "drafts": drafts}), target, draft
        )

    @classmethod
    def smallest(cls, folder: Path) -> Self:
        """Return the smallest of the models."""
        del folder
        return cls(size="small")

    def source(self, default: Size) -> ModelConfig:
        """Return the block that loads this model from its folder.

        Args:
            default: The model meant when `size` is null.

        Raises:
            BackendError: The weights are not there.
        """
        folder = WEIGHTS / FOLDERS[self.size or default]
        if not (folder / "config.json").exists():
            raise BackendError(
                f"embedded: the weights are missing from {folder}; reinstall paceline, or in a source checkout train "
                "them with the recipe in tools/embedded_recipe"
            )
        kind = GraphConfig if self.engine == "graph" else HfConfig
        return kind(
            model=str(folder),
            tokenizer=str(WEIGHTS / FOLDERS["target"]),
            dtype=self.dtype,
            device=self.device,
            threads=self.threads,
            local_files_only=True,
        )

    def _own(self, message: str) -> str:
        """Return a message of the engine under the name that the run file gives the backend."""
        lead = f"{self.engine}: "
        return f"{self.backend}: {message.removeprefix(lead)}" if message.startswith(lead) else message

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except BackendError as error:
            raise BackendError(self._own(str(error))) from error
