from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from paceline import json_schema, load_config
from paceline.core.config.schema import DIALECT
from paceline.core.plugins.catalogue import Catalogue

HERE = Path(__file__).parent
NOT_FOR_A_SCHEMA = (
    "temperature-is-almost-zero",  # 0.0, or a number with a floor
    "top-p-without-temperature",  # one key asks for another
    "plugin-refuses-a-value",  # a validator written in Python
    "duplicate",  # parsed data cannot show it
    "alias",  # JSON has none
    "key-is",  # JSON's keys are all text
    "draft-name-is-a-number",
    "merge-keys-without-end",  # more than a memory holds
    "escape-beyond-unicode",  # no YAML, which its library notices by chance
    "trace-",  # what stands on a disk
    "state-",
    "path-holds-nul",  # bounds that hold for every value
    "text-holds-half-a-character",
    "number-is-nan",
    "number-is-infinite",
    "number-beyond-bounds",
    "number-with-too-many-digits",
)


def wrong_data() -> list[Any]:
    """Return the data of each wrong file that is YAML and whose fault a schema can see."""
    found = []
    for file in sorted((HERE / "wrong").glob("*.yaml")):
        if file.stem.startswith(NOT_FOR_A_SCHEMA):
            continue
        try:
            data = yaml.safe_load(file.read_text())
        except (yaml.YAMLError, ValueError, LookupError, AttributeError):
            continue
        found.append(pytest.param(data, id=file.stem))
    return found


@pytest.fixture(scope="module")
def validator(catalogue: Catalogue) -> Draft202012Validator:
    return Draft202012Validator(json_schema(catalogue))


def test_the_schema_is_valid_and_says_its_dialect(catalogue: Catalogue) -> None:
    schema = json_schema(catalogue)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == DIALECT


def test_every_reference_in_the_schema_leads_somewhere(catalogue: Catalogue) -> None:
    schema = json_schema(catalogue)

    def references(node: Any) -> list[str]:
        if isinstance(node, list):
            return [found for item in node for found in references(item)]
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [found for item in node.values() for found in references(item)]
        return []

    found = references(schema)
    assert "#/$defs/policy" in found
    assert {name.removeprefix("#/$defs/") for name in found} <= set(schema["$defs"])


@pytest.mark.parametrize(
    "text",
    [
        (HERE / "right.yaml").read_text().replace("1e-3", "0.001"),
        "{}",
        "policy: online",
        "target: {backend: remote, prices: {'1': 0.5}}",
        "drafts: {}",
    ],
)
def test_the_schema_accepts_what_the_loader_accepts(
    text: str, validator: Draft202012Validator, catalogue: Catalogue
) -> None:
    data = yaml.safe_load(text)
    load_config(data, catalogue=catalogue)
    validator.validate(data)


def test_the_schema_accepts_every_dumped_run(validator: Draft202012Validator, catalogue: Catalogue) -> None:
    validator.validate(load_config(HERE / "right.yaml", catalogue=catalogue).model_dump(mode="json"))


@pytest.mark.parametrize("data", wrong_data())
def test_the_schema_refuses_what_the_loader_refuses(data: Any, validator: Draft202012Validator) -> None:
    assert not validator.is_valid(data)


def test_enough_wrong_files_are_shown_to_the_schema() -> None:
    assert len(wrong_data()) >= 40


def test_the_schema_of_what_is_installed_is_valid_and_holds_the_built_ins() -> None:
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    assert {"policy.static", "policy.online", "backend.toy"} <= set(schema["$defs"])
    Draft202012Validator(schema).validate({"target": "toy", "policy": {"name": "static", "gamma": 2}})


def test_a_schema_without_any_plugin_refuses_every_name() -> None:
    validator = Draft202012Validator(json_schema(Catalogue({}, {})))
    assert not validator.is_valid({"policy": "static"})
    assert validator.is_valid({"trace": "a.jsonl"})
