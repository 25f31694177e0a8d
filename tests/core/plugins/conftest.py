from collections.abc import Callable
from types import SimpleNamespace
from typing import Literal

import pytest

from paceline import BackendConfig, PolicyConfig
from paceline.core.plugins.hooks import impl


def make_policy(name: str, **attributes: object) -> type[PolicyConfig]:
    """Return a new policy class called `name`."""

    def build(self: PolicyConfig, seed: int = 0) -> object:
        return (self, seed)

    body = {"__annotations__": {"name": Literal[name]}, "name": name, "build": build, "__module__": __name__}
    return type(PolicyConfig)(f"{name.title()}Config", (PolicyConfig,), body | attributes)


def make_backend(name: str, roles: set[str], **attributes: object) -> type[BackendConfig]:
    """Return a new backend class called `name` that plays `roles`."""
    body: dict[str, object] = {
        "__annotations__": {"backend": Literal[name]},
        "backend": name,
        "roles": frozenset(roles),
        "build_draft": lambda self, target: target,
        "build_target": lambda self: self,
        "__module__": __name__,
    }
    return type(BackendConfig)(f"{name.title()}Config", (BackendConfig,), body | attributes)


def make_plugin(name: str, **hooks: Callable[[], object]) -> SimpleNamespace:
    """Return a plugin with these hooks. Each call makes another object, so plugins never compare equal."""
    return Plugin(__name__=name, **{hook: impl(function) for hook, function in hooks.items()})


class Plugin(SimpleNamespace):
    __hash__ = object.__hash__
    __eq__ = object.__eq__


@pytest.fixture
def make() -> SimpleNamespace:
    return SimpleNamespace(policy=make_policy, backend=make_backend, plugin=make_plugin)
