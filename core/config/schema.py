"""The JSON schema of a run file, for editors; the installed plugins are in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic.json_schema import GenerateJsonSchema

from paceline.core.config.resolve import PLACEHOLDER
from paceline.core.config.run import DRAFT_NAME, RunConfig
from paceline.core.errors import INTERRUPTS, describe, short_repr
from paceline.core.log import log
from paceline.core.plugins.catalogue import Catalogue

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.json_schema import JsonSchemaValue, JsonSchemaWarningKind
    from pydantic_core import core_schema

    from paceline.core.config.blocks import Strict


DIALECT = "https://json-schema.org/draft/2020-12/schema"
_PREFIX = "#/$defs/"


def json_schema(catalogue: Catalogue | None = None) -> dict[str, Any]:
    """Return a draft 2020-12 schema: one alternative for each installed policy and backend, bare names included.

    The schema accepts what `load_config` accepts, except for what a schema cannot know (that files exist) and for
    laxities nobody should rely on (numbers in quotes). `catalogue` is what is installed by default.
    """
    catalogue = Catalogue.load() if catalogue is None else catalogue
    policies = {name: entry.config for name, entry in catalogue.policies.items()}
    backends = {name: entry.config for name, entry in catalogue.backends.items()}
    defs: dict[str, Any] = {}
    run = _hoist(RunConfig.model_json_schema(), "run", defs)
    run["properties"]["drafts"]["propertyNames"] = {"pattern": f"^{DRAFT_NAME}$"}
    run["required"] = []
    _describe("policy", "name", policies, defs)
    _describe("backend", "backend", backends, defs)
    defs["policy"] = _choice("policy", policies)
    defs["backend"] = _choice("backend", backends)
    defs["target"] = _choice("backend", {name: backends[name] for name in catalogue.playing("target")})
    defs["draft"] = _choice("backend", {name: backends[name] for name in catalogue.playing("draft")})
    return {"$schema": DIALECT, **run, "title": "paceline run", "$defs": defs}


class _Lenient(GenerateJsonSchema):
    """Lets an option that JSON has no form for be anything, so that the others are described."""

    ignored_warning_kinds: set[JsonSchemaWarningKind] = {  # noqa: RUF012 - pydantic's own way
        "skipped-choice",
        "non-serializable-default",
    }

    def handle_invalid_for_json_schema(
        self, schema: core_schema.CoreSchema, error_info: str
    ) -> JsonSchemaValue:
        """Return what accepts anything."""
        return {}


def _describe(kind: str, key: str, blocks: Mapping[str, type[Strict]], defs: dict[str, Any]) -> None:
    """Add the schema of each block; one that has none accepts any options, and is logged."""
    for name, block in blocks.items():
        try:
            schema = block.model_json_schema(schema_generator=_Lenient)
        except INTERRUPTS:
            raise
        except BaseException as error:  # noqa: BLE001 - a plugin's own schema hooks may raise what they like
            log.warning(
                "schema_failed",
                block=describe(block),
                error=short_repr(error),
                action="any options are accepted",
            )
            schema = {"type": "object", "properties": {key: {"const": name}}}
        defs[f"{kind}.{name}"] = _named(_hoist(schema, f"{kind}.{name}", defs), key, name)


def _hoist(schema: dict[str, Any], owner: str, defs: dict[str, Any]) -> dict[str, Any]:
    """Move a class's own definitions into `defs`, prefixed by their owner, so that names cannot collide."""
    for name, definition in schema.pop("$defs", {}).items():
        defs[f"{owner}.{name}"] = _linked(definition, owner)
    linked: dict[str, Any] = _linked(schema, owner)
    return linked


def _linked(node: Any, owner: str) -> Any:
    """Return a copy with references adapted to `_hoist`, and placeholders turned into references."""
    if isinstance(node, list):
        return [_linked(item, owner) for item in node]
    if not isinstance(node, dict):
        return node
    copy = {key: _linked(value, owner) for key, value in node.items() if key != PLACEHOLDER}
    if PLACEHOLDER in node:
        copy["$ref"] = _PREFIX + node[PLACEHOLDER]
    elif isinstance(node.get("$ref"), str) and node["$ref"].startswith(_PREFIX):
        copy["$ref"] = f"{_PREFIX}{owner}.{node['$ref'].removeprefix(_PREFIX)}"
    return copy


def _named(schema: dict[str, Any], key: str, name: str) -> dict[str, Any]:
    """Make the key that names a block required; the loader needs it to find the block."""
    return {**schema, "title": name, "required": [key, *schema.get("required", [])]}


def _choice(kind: str, blocks: dict[str, Any]) -> dict[str, Any]:
    """Return the alternatives: bare names of blocks that need no options, and each block in full."""
    bare = [name for name, block in blocks.items() if not _required(block)]
    full = [{"$ref": f"{_PREFIX}{kind}.{name}"} for name in blocks]
    return {"oneOf": ([{"enum": bare}] if bare else []) + full or [False]}


def _required(block: type[Strict]) -> bool:
    return any(field.is_required() for field in block.model_fields.values())
