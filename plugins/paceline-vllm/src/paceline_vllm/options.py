"""Options under "paceline" in vLLM's `--additional-config`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from paceline import ConfigError, load_config

if TYPE_CHECKING:
    from paceline import RunConfig

KEY = "paceline"
MEANINGLESS = {
    "scope": ("session", "process"),
    "state": (None,),
}
"""Keys of a run file that mean nothing where one policy serves all requests, and what may stand there."""


class EngineOptions(BaseModel):
    """Options of the policy in one engine; its policy comes from a run file or stands here itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    config: Path | None = Field(
        default=None, description="A run file, for its `policy`, `generation.seed` and `trace`."
    )
    policy: Any = Field(
        default=None, description="The policy itself: its name, or its block as in a run file."
    )
    seed: int = Field(default=0, description="Seed of a policy that stands here.")
    trace: Path | None = Field(default=None, description="File that finished rounds are written to.")
    draft: str = Field(default="vllm", description="What the policy knows vLLM's draft by.")
    fallback_gamma: int = Field(default=0, ge=0, description="Gamma once the policy has failed.")
    rounds_per_step: int | None = Field(
        default=4,
        ge=1,
        description="The most rounds of one step that the policy is shown; null shows all, as does `sync` by itself.",
    )
    sync: str | None = Field(
        default=None, description="`package.module:callable` that shares what the policy learns."
    )
    status: Path | None = Field(
        default=None,
        description="File that counters are handed to the metrics by; a temporary one if left out.",
    )

    def run(self) -> RunConfig:
        """Return the run that names the policy.

        Raises:
            ConfigError: The file or the block is wrong, or asks for what an engine cannot do.
        """
        if (self.config is None) == (self.policy is None):
            raise ConfigError(f"additional_config[{KEY!r}] takes exactly one of `config` and `policy`")
        if self.config is None:
            return load_config({"policy": self.policy, "generation": {"seed": self.seed}})
        run = load_config(self.config)
        for key, allowed in MEANINGLESS.items():
            if getattr(run, key) not in allowed:
                raise ConfigError(
                    f"{self.config}: `{key}` has no meaning inside vLLM, where one policy serves all requests; "
                    "leave it out (`sync` shares what is learnt)"
                )
        return run

    def rounds_shown(self) -> int | None:
        """Return how many rounds of a step are shown; all where they are shared, so that sums are complete."""
        if self.sync is not None and "rounds_per_step" not in self.model_fields_set:
            return None
        return self.rounds_per_step

    def sync_function(self) -> Callable[..., Any] | None:
        """Return what `sync` names.

        Raises:
            ConfigError: It cannot be imported, or is not callable.
        """
        if self.sync is None:
            return None
        module, _, name = self.sync.partition(":")
        try:
            function = getattr(import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigError(
                f"`sync` is {self.sync!r}, which cannot be imported ({error}); write package.module:callable"
            ) from error
        if not callable(function):
            raise ConfigError(f"`sync` is {self.sync!r}, which is {type(function).__name__}, nothing to call")
        typed: Callable[..., Any] = function
        return typed


def read_options(additional_config: object) -> EngineOptions:
    """Read vLLM's additional configuration.

    Raises:
        ConfigError: There is nothing for paceline in it, or it is wrong; lists every problem.
    """
    block = additional_config.get(KEY) if isinstance(additional_config, Mapping) else None
    if not isinstance(block, Mapping):
        raise ConfigError(
            f'the scheduler of paceline needs --additional-config \'{{"{KEY}": {{"policy": "online"}}}}\', or with '
            f'"config" and the path of a run file; found {block!r}'
        )
    try:
        return EngineOptions.model_validate(dict(block))
    except ValidationError as error:
        lines = []
        for row in error.errors(include_url=False):
            place = ".".join(map(str, row["loc"]))
            message = row["msg"]
            if row["type"] == "extra_forbidden":
                message = f"unknown key; allowed: {', '.join(EngineOptions.model_fields)}"
            lines.append(f"additional_config: {KEY}.{place}: {message}, found {row['input']!r}")
        raise ConfigError("\n".join(lines)) from None
