"""`plugins`, `schema`, `doctor`, `bench`, and the command's root."""

import json

import jsonschema
import pytest
import yaml

PLUGIN = """
from typing import Literal
from paceline import PolicyConfig, hookimpl

class BadConfig(PolicyConfig):
    name: Literal["bad"] = "bad"

@hookimpl
def register_policies():
    raise RuntimeError("broken on purpose")
"""


def test_plugins_lists_policies_and_backends_with_who_provides_them(cli):
    found = json.loads(cli.call("plugins", "--json", code=0).stdout)

    assert {"online", "static", "thompson"} <= {one["name"] for one in found["policies"]}
    assert {"embedded", "hf", "prompt-lookup", "toy"} <= {one["name"] for one in found["backends"]}
    assert {"paceline"} == {one["distribution"] for one in found["policies"]}
    assert all(one["help"] for one in found["policies"] + found["backends"])
    assert "thompson" in cli.call("plugins", code=0).stdout


def test_the_schema_accepts_a_right_file_and_refuses_a_wrong_one(cli, toy):
    schema = json.loads(cli.call("schema", code=0).stdout)
    jsonschema.validate(yaml.safe_load(toy.read_text()), schema)

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"policy": {"name": "online", "windw": 3}}, schema)


def test_the_schema_goes_to_a_file_when_told_so(cli):
    cli.call("schema", "--out", "schema.json", code=0)

    assert "$schema" in json.loads((cli.folder / "schema.json").read_text())


def test_the_doctor_finds_a_run_that_can_start(cli, toy):
    found = json.loads(cli.call("doctor", "-c", toy, "--json", code=0).stdout)

    assert tuple(found["run"][key] for key in ("target", "drafts", "policy", "problems")) == (
        "toy",
        {"good": "toy"},
        "online",
        [],
    )
    assert "paceline" in found["versions"]
    assert "this run can start" in cli.call("doctor", "-c", toy, code=0).stdout


def test_the_doctor_says_why_a_run_cannot_start(cli):
    wrong = cli.file("wrong.yaml", "policy: onlin\n")

    done = cli.call("doctor", "-c", wrong, code=1)

    assert "wrong.yaml:1: policy" in done.stdout
    assert "did you mean 'online'?" in done.stdout


def test_the_version_is_told(cli):
    assert cli.call("--version", code=0).stdout.startswith("paceline ")


class TestBench:
    def test_the_document_compares_every_mode_with_plain_decoding(self, cli, toy):
        prompts = cli.file(
            "prompts.jsonl",
            "".join(json.dumps({"text": text, "kind": text[0]}) + "\n" for text in ("abc", "bcd", "cde")),
        )
        call = ("bench", "-c", toy, "--prompts", prompts, "--json", "-r", 2, "-n", 30)

        found = json.loads(cli.call(*call, code=0).stdout)

        modes = {one["mode"]: one for one in found["modes"]}
        assert {"plain", "static-1", "static-8", "online", "thompson", "lookup"} <= modes.keys()
        assert modes["plain"]["speedup"]["value"] == 1.0
        assert all(one["differing"] == 0 for one in modes.values())
        assert found["best_static"].startswith("static-")
        assert {"a", "b", "c"} == modes["online"]["kinds"].keys()
        assert len(found["runs"]) == len(modes) * 3 * 2

    def test_the_table_names_the_best_static_gamma(self, cli, toy):
        prompts = cli.file("prompts.jsonl", '{"text": "abc"}\n')
        done = cli.call(
            "bench", "-c", toy, "--prompts", prompts, "-p", "static-2,online", "-r", 1, "-n", 20, code=0
        )

        assert "static-2" in done.stdout
        assert "online" in done.stdout

    def test_an_unknown_mode_is_wrong_usage(self, cli, toy):
        prompts = cli.file("prompts.jsonl", '{"text": "abc"}\n')
        done = cli.call("bench", "-c", toy, "--prompts", prompts, "-p", "onlin", code=2)

        assert "did you mean 'online'?" in done.stderr

    def test_a_wrong_line_of_a_prompt_file_is_named(self, cli, toy):
        prompts = cli.file("prompts.jsonl", '{"text": "abc"}\n{"txt": "abc"}\n')

        assert "prompts.jsonl:2" in cli.call("bench", "-c", toy, "--prompts", prompts, code=2).stderr
