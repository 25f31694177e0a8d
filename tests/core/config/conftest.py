from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Annotated, ClassVar, Literal

import pytest
from pydantic import Field, field_validator

from paceline import AnyPolicy, BackendConfig, PolicyConfig
from paceline.core.config.blocks import Role
from paceline.core.plugins.catalogue import Catalogue
from paceline.core.plugins.hooks import impl

BOTH: frozenset[Role] = frozenset({"target", "draft"})


class Built:
    """The object that sample blocks build: it remembers from what."""

    def __init__(self, config: object, seed: int = 0) -> None:
        self.config, self.seed = config, seed


class Static(PolicyConfig):
    """Plans the same gamma always.

    Nothing is learnt.
    """

    name: Literal["static"] = "static"
    gamma: int = Field(default=4, ge=0)

    def build(self, seed: int = 0) -> Built:  # type: ignore[override]
        return Built(self, seed)


class Auto(Static):
    name: Literal["auto"] = "auto"  # type: ignore[assignment]


class Online(Static):
    name: Literal["online"] = "online"  # type: ignore[assignment]
    window: int = Field(default=10, ge=1, le=1000)
    decay: Annotated[float, Field(gt=0, le=1)] = 0.99
    label: str | None = None
    gammas: tuple[int, ...] = ()

    @field_validator("gammas")
    @classmethod
    def ascending(cls, gammas: tuple[int, ...]) -> tuple[int, ...]:
        if sorted(gammas) != list(gammas):
            raise ValueError("gammas must ascend; sort them")
        return gammas


class Select(Static):
    name: Literal["select"] = "select"  # type: ignore[assignment]
    length: AnyPolicy = Field(default="online")  # type: ignore[assignment]
    arms: tuple[AnyPolicy, ...] = ()
    by_draft: dict[str, AnyPolicy] = Field(default_factory=dict)


class Timed(Static):
    name: Literal["timed"] = "timed"  # type: ignore[assignment]
    deadline: float


class Embedded(BackendConfig):
    backend: Literal["embedded"] = "embedded"
    roles: ClassVar[frozenset[Role]] = BOTH
    size: Literal["small", "base"] = "base"

    def build_target(self) -> Built:  # type: ignore[override]
        return Built(self)

    def build_draft(self, target: object) -> Built:  # type: ignore[override]
        return Built(self)


class Hf(Embedded):
    backend: Literal["hf"] = "hf"  # type: ignore[assignment]
    model: str
    dtype: Literal["float32", "bfloat16"] = "float32"
    trust_remote_code: bool = False
    revision: str | None = None


class Lookup(BackendConfig):
    backend: Literal["prompt-lookup"] = "prompt-lookup"
    roles: ClassVar[frozenset[Role]] = frozenset({"draft"})
    max_ngram: int = Field(default=3, ge=1)

    def build_draft(self, target: object) -> Built:  # type: ignore[override]
        return Built(self)


class Remote(BackendConfig):
    backend: Literal["remote"] = "remote"
    roles: ClassVar[frozenset[Role]] = frozenset({"target"})
    prices: Mapping[int, float] = Field(default_factory=dict)

    def build_target(self) -> Built:  # type: ignore[override]
        return Built(self)


class Sample:
    @impl
    def register_policies(self) -> Iterable[type[PolicyConfig]]:
        return [Static, Auto, Online, Select, Timed]

    @impl
    def register_backends(self) -> Iterable[type[BackendConfig]]:
        return [Embedded, Hf, Lookup, Remote]


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    return Catalogue.load([Sample()], installed=False)


@pytest.fixture(scope="session")
def blocks() -> SimpleNamespace:
    return SimpleNamespace(
        Static=Static,
        Auto=Auto,
        Online=Online,
        Select=Select,
        Timed=Timed,
        Embedded=Embedded,
        Hf=Hf,
        Lookup=Lookup,
        Remote=Remote,
    )
