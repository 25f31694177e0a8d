"""Fields that hold "some installed policy" or "some installed backend", resolved by name in a catalogue.

The catalogue travels in pydantic's validation context. Where nobody passed one, as in `HedgeConfig(length="static")`,
a name means what is installed, as it does for `load_config`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, SerializeAsAny, ValidationInfo, WithJsonSchema

from paceline.core.config.blocks import BackendConfig, PolicyConfig, Role, Strict
from paceline.core.config.errors import nearest, problem
from paceline.core.errors import PluginError
from paceline.core.plugins.catalogue import Catalogue, Entry

CONTEXT = "catalogue"
"""Key of the catalogue in the validation context."""

PLACEHOLDER = "x-paceline"
"""Key that marks, in a class's own JSON schema, the place of "any policy" or "any backend"."""


def catalogue_of(info: ValidationInfo) -> Catalogue | None:
    """Return the catalogue in the validation context, if there is one."""
    catalogue = (info.context or {}).get(CONTEXT) if isinstance(info.context, Mapping | None) else None
    return catalogue if isinstance(catalogue, Catalogue) else None


def _installed(kind: Literal["policy", "backend"]) -> BeforeValidator:
    """Read a name, or a mapping with one, as the block of a policy or backend that is installed."""
    key: str = "name" if kind == "policy" else kind

    def resolve(value: object, info: ValidationInfo) -> Strict:
        """Return the block that `value` stands for, validated by the class of its name."""
        if isinstance(value, PolicyConfig if kind == "policy" else BackendConfig):
            return value
        catalogue = catalogue_of(info) or Catalogue.load()
        options = _options(kind, key, value, catalogue.policies if kind == "policy" else catalogue.backends)
        find: Callable[[str], Entry[Any]] = catalogue.policy if kind == "policy" else catalogue.backend
        try:
            entry = find(options[key])
        except PluginError as error:
            path = (key,) if isinstance(value, Mapping) else ()
            raise problem("unknown_name", str(error), value, *path) from None
        block: Strict = entry.config.model_validate(options, context=info.context)
        return block

    return BeforeValidator(resolve)


def _options(kind: str, key: str, value: object, installed: Iterable[str]) -> dict[str, Any]:
    """Return the mapping that `value` stands for; its `key` is a string."""
    if isinstance(value, str):
        return {key: value}
    names = f"installed: {', '.join(installed) or 'none'}"
    if not isinstance(value, Mapping):
        raise problem(
            "block_type", f"should be the name of a {kind}, or a mapping with the key {key!r}; {names}", value
        )
    if key not in value:
        keys = [str(other) for other in value]
        wrong = next((other for other in keys if nearest(other, [key])), None)
        hint = (
            f"did you mean {key!r} where it says {wrong!r}?"
            if wrong
            else f"found {', '.join(keys) or 'no keys'};"
        )
        raise problem(
            "block_name", f"the key {key!r} is missing, which chooses the {kind}; {hint} {names}", value
        )
    if not isinstance(value[key], str):
        raise problem("name_type", f"should be the name of a {kind}; {names}", value[key], key)
    return dict(value)


def _plays(role: Role) -> AfterValidator:
    """Refuse a backend that does not play `role`, naming those that do."""

    def check(config: BackendConfig, info: ValidationInfo) -> BackendConfig:
        if role in config.roles:
            return config
        catalogue = catalogue_of(info)
        others = f"; backends that can: {', '.join(catalogue.playing(role)) or 'none'}" if catalogue else ""
        can = " and ".join(sorted(config.roles)) or "nothing"
        message = f"backend {config.backend!r} cannot be a {role}, only a {can}{others}"
        raise problem("role", message, config.backend)

    return AfterValidator(check)


_BACKEND = _installed("backend")

AnyPolicy = Annotated[
    SerializeAsAny[PolicyConfig], _installed("policy"), WithJsonSchema({PLACEHOLDER: "policy"})
]
"""Any installed policy: a mapping with `name`, a bare name, or a configuration that is already built."""

AnyBackend = Annotated[SerializeAsAny[BackendConfig], _BACKEND, WithJsonSchema({PLACEHOLDER: "backend"})]
"""Any installed backend: a mapping with `backend`, a bare name, or a configuration that is already built."""

TargetBackend = Annotated[
    SerializeAsAny[BackendConfig], _BACKEND, _plays("target"), WithJsonSchema({PLACEHOLDER: "target"})
]
"""Any installed backend that can be a target."""

DraftBackend = Annotated[
    SerializeAsAny[BackendConfig], _BACKEND, _plays("draft"), WithJsonSchema({PLACEHOLDER: "draft"})
]
"""Any installed backend that can be a draft."""
