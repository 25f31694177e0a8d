"""The `llama-cpp` backend's block in a configuration: a GGUF file, and the form in which llama.cpp runs it."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field

from paceline import BackendConfig, BackendError, Readiness, Role, gguf_file
from paceline_llamacpp.library import BACKEND, CAPABILITIES, missing_library

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

    from paceline import Draft, RunConfig, Target

CacheType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]
"""Number formats of a cache."""


class LlamaCppConfig(BackendConfig):
    """A GGUF model, quantised or not, run by llama.cpp."""

    roles: ClassVar[frozenset[Role]] = frozenset({"target", "draft"})

    backend: Literal["llama-cpp"] = "llama-cpp"
    model: str = Field(description="A GGUF file, a folder with one, or an installed package with one.")
    threads: int = Field(default=1, ge=1, description="CPU threads.")
    gpu_layers: int = Field(
        default=0, ge=-1, description="Layers to put on a GPU, where the build has one; -1 is all."
    )
    context: int | None = Field(
        default=None, ge=2, description="The longest prompt + output; null is the model's own, 4096 at most."
    )
    parallel: int = Field(
        default=2,
        ge=1,
        le=64,
        description="Requests to make room for at a time, each with a context of its own.",
    )
    cache_type: CacheType = Field(
        default="f16", description="Number format of the cache; short ones need flash attention."
    )
    flash_attention: bool | None = Field(
        default=None, description="Compute attention block by block; null lets llama.cpp choose."
    )

    block_multiple: int = Field(
        default=1,
        ge=1,
        le=32,
        description="Verify in blocks of a multiple of so many tokens, which the same kernels compute: see the guide.",
    )

    @classmethod
    def missing(cls) -> tuple[str, ...]:
        """Return whether llama-cpp-python is absent or too old."""
        return missing_library()

    @classmethod
    def for_model(cls, model: str) -> Self | None:
        """Take files that end in .gguf, and folders and packages that hold one, where llama.cpp is there.

        Elsewhere they are left to the backends of transformers, which read them too.
        """
        return None if gguf_file(model) is None or cls.missing() else cls(model=model)

    def build_target(self) -> Target:
        """Load the model.

        Raises:
            BackendError: llama-cpp-python is missing, or the model cannot be loaded or used.
        """
        return self._loading().load_target(self)  # type: ignore[no-any-return]

    def build_draft(self, target: Target) -> Draft:
        """Load the model as a draft for `target`.

        Raises:
            BackendError: As for the target, or its tokens are not the target's.
        """
        return self._loading().load_draft(self, target)  # type: ignore[no-any-return]

    def check_target(self, run: RunConfig) -> Readiness:
        """Tell whether library, file and settings are there; reads metadata and vocabulary, no weights."""
        if self.missing():
            return Readiness(self.missing(), capabilities=CAPABILITIES)
        return self._loading().check_target(self)  # type: ignore[no-any-return]

    def check_draft(self, run: RunConfig, target: Readiness) -> Readiness:
        """Tell the same of a draft, and whether its tokens are the target's."""
        if self.missing():
            return Readiness(self.missing())
        return self._loading().check_draft(self, target)  # type: ignore[no-any-return]

    def reference_modes(
        self, run: RunConfig, target: Target, draft: Draft | None
    ) -> Mapping[str, Callable[[list[int], int], list[int]]]:
        """Return llama-cpp-python's own ways to decode: plainly, and with its prompt lookup."""
        return import_module("paceline_llamacpp.references").references(self, run, target)  # type: ignore[no-any-return]

    @classmethod
    def smallest(cls, folder: Path) -> Self | None:
        """Return a block for a Llama of a few thousand random weights, where the package that writes GGUF is there."""
        if find_spec("gguf") is None:
            return None
        path = import_module("paceline_llamacpp.tiny").write_tiny(folder / "tiny.gguf")
        return cls(model=str(path))

    @property
    def path(self) -> Path:
        """The model's file.

        Raises:
            BackendError: There is none.
        """
        path = gguf_file(self.model)
        if path is not None:
            return path
        if Path(self.model).exists():
            raise BackendError(
                f"{BACKEND}: {self.model} is no GGUF file and holds none; convert the model with convert_hf_to_gguf.py "
                "of llama.cpp, or use `backend: graph` for a folder of transformers"
            )
        raise BackendError(
            f"{BACKEND}: there is no file {self.model}, and no package of that name holds a GGUF file"
        )

    @staticmethod
    def _loading() -> ModuleType:
        """Import what needs numpy and llama.cpp, which must stay unloaded until a model is built or asked about."""
        return import_module("paceline_llamacpp.loading")
