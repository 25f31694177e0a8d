"""The base of configuration blocks of backends that load models of transformers."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field

from paceline.backends.torch.load_errors import explained, missing_libraries
from paceline.core.config.blocks import BackendConfig, Readiness
from paceline.core.environment import remedy
from paceline.core.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import ModuleType

    from paceline.core.config.blocks import Generate
    from paceline.core.config.run import RunConfig
    from paceline.core.protocols import Draft, Target


class ModelConfig(BackendConfig):
    """A model of transformers to load, from the hub or a folder, and its form."""

    model: str = Field(
        description="Name on the Hugging Face hub, a folder, or a GGUF file (see `gguf_file`)."
    )
    revision: str | None = Field(default=None, description="Branch, tag or commit on the hub.")
    tokenizer: str | None = Field(default=None, description="Where the tokenizer is, if not with the model.")
    dtype: str = Field(
        default="auto", description="Number format of the weights; auto is the one they are stored in."
    )
    device: str = Field(
        default="auto", description="A torch device such as cpu or cuda:0; auto is cuda if there."
    )
    threads: Annotated[int, Field(ge=1)] | Literal["auto"] | None = Field(
        default=None, description="CPU threads of torch, by the target's block; null leaves them alone."
    )
    huge_pages: bool = Field(
        default=True,
        description="Ask Linux for large memory pages under weights on the CPU: faster, same output.",
    )
    trust_remote_code: bool = Field(default=False, description="Run Python code from the model's repository.")
    local_files_only: bool = Field(default=False, description="Never use the network.")

    loading: ClassVar[str]
    """The module that loads the models: its `load_target` and `load_draft` take the block."""

    checking: ClassVar[str]
    """The module that looks at them before: its `check_target` and `check_draft` take the block."""

    @classmethod
    def missing(cls) -> tuple[str, ...]:
        """Return which libraries are absent or too old."""
        return missing_libraries()

    def build_target(self) -> Target:
        """Load the model and its tokenizer.

        Raises:
            BackendError: A library is missing, or the model cannot be loaded or used.
        """
        loading = self._loading()
        with explained(self):
            return loading.load_target(self)  # type: ignore[no-any-return]

    def build_draft(self, target: Target) -> Draft:
        """Load the model as a draft for `target`; where their tokenizers differ, its text is re-encoded.

        Raises:
            BackendError: As for the target.
        """
        loading = self._loading()
        with explained(self):
            return loading.load_draft(self, target)  # type: ignore[no-any-return]

    def check_target(self, run: RunConfig) -> Readiness:
        """Tell whether libraries, device, settings, files and memory are there; reads no weights."""
        if self.missing():
            return Readiness(self.missing())
        with explained(self):
            return import_module(self.checking).check_target(self, run)  # type: ignore[no-any-return]

    def check_draft(self, run: RunConfig, target: Readiness) -> Readiness:
        """Tell the same of a draft, and how its tokens and the target's go together."""
        if self.missing():
            return Readiness(self.missing())
        with explained(self):
            return import_module(self.checking).check_draft(self, run, target)  # type: ignore[no-any-return]

    def reference_modes(self, run: RunConfig, target: Target, draft: Draft | None) -> Mapping[str, Generate]:
        """Return transformers' own ways to decode; none beside int8, which it does not compute as we do."""
        if self.dtype == "int8":
            return {}
        comparing = import_module("paceline.backends.transformers.reference")
        return comparing.references(run, target, draft)  # type: ignore[no-any-return]

    @classmethod
    def smallest(cls, folder: Path) -> Self:
        """Return a block for a Llama of a few thousand random weights, which is written there first."""
        host, torch, transformers = map(
            import_module, ("paceline.backends.torch.host", "torch", "transformers")
        )
        config = transformers.LlamaConfig(
            vocab_size=96,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=512,
        )
        with host.quiet_loading(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            transformers.LlamaForCausalLM(config).save_pretrained(folder)
        return cls.model_validate({"model": str(folder), "local_files_only": True})

    def _loading(self) -> ModuleType:
        """Import what needs torch, which must stay unloaded until a model is built."""
        try:
            return import_module(self.loading)
        except ModuleNotFoundError as problem:
            if (problem.name or "").partition(".")[0] == "paceline":
                raise
            raise BackendError(
                f"the {self.backend} backend needs the Python package {problem.name!r}, which is not installed; "
                f"{remedy('hf')}"
            ) from problem
