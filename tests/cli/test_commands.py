"""`plugins`, `schema`, `doctor`, `bench`, and the command's root."""

import itertools
import json
import subprocess
import sys

import jsonschema
import pytest
import typer
import yaml

from paceline import Catalogue, hookimpl
from paceline.backends.toy import ToyConfig
from paceline.cli import doctor, plugins
from paceline.cli._checks import Trial
from paceline.cli.app import COMMANDS, load
from paceline.lab.bench.run import LoopMode


def test_plugins_lists_policies_and_backends_with_who_provides_them(cli):
    found = json.loads(cli.call("plugins", "--json", code=0).stdout)

    assert {"online", "static", "thompson"} <= {one["name"] for one in found["policies"]}
    assert {"embedded", "hf", "prompt-lookup", "toy"} <= {one["name"] for one in found["backends"]}
    providers = {one["name"]: one["distribution"] for one in found["policies"]}
    assert {providers[name] for name in ("online", "static", "thompson")} == {"paceline"}
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


@pytest.fixture
def visit(monkeypatch, capsys):
    """Return what lets the doctor tell of a run, in this process; no backend is tried."""
    monkeypatch.setattr(doctor, "try_backend", lambda config, catalogue: Trial(0.1))

    def told(path, *, as_json=False):
        with pytest.raises(typer.Exit) as leaving:
            doctor.doctor(config=path, as_json=as_json)
        return leaving.value.exit_code, capsys.readouterr().out

    return told


def test_the_doctor_finds_a_run_that_can_start(visit, toy):
    code, text = visit(toy, as_json=True)
    found = json.loads(text)

    assert code == 0
    assert tuple(found["run"][key] for key in ("target", "drafts", "policy", "problems")) == (
        "toy",
        {"good": "toy"},
        "auto",
        [],
    )
    assert "paceline" in found["versions"]
    code, text = visit(toy)
    assert code == 0
    assert "this run can start, as far as can be told" in text
    assert "toy: ready; its smallest model generated 4 tokens" in text


def test_the_doctor_says_why_a_run_cannot_start(visit, cli):
    code, text = visit(cli.file("wrong.yaml", "policy: onlin\n"))

    assert code == 1
    assert "wrong.yaml:1: policy" in text
    assert "did you mean 'online'?" in text


def test_the_doctor_tries_backends_and_names_problems_and_drafts_that_are_never_used(cli):
    text = "target: toy\ndrafts: {a: toy, b: {backend: hf, model: /no/such/folder}}\npolicy: static\n"
    found = json.loads(cli.call("doctor", "-c", cli.file("run.yaml", text), "--json", code=1).stdout)

    assert list(found["run"]["unused"]) == ["b"]
    (problem,) = found["run"]["problems"]
    assert "no such folder" in problem
    assert all(backend["trial"]["problem"] is None for backend in found["backends"])
    tried = {backend["name"] for backend in found["backends"] if backend["trial"]["seconds"]}
    assert tried >= {"embedded", "graph", "hf", "prompt-lookup", "toy"}


def test_a_broken_plugin_is_listed_with_its_error_and_breaks_nothing_else(cli, monkeypatch, capsys):
    class Broken:
        @hookimpl
        def register_policies(self):
            raise RuntimeError("broken on purpose")

    load = Catalogue.load
    monkeypatch.setattr(plugins.Catalogue, "load", lambda: load([Broken()]))

    plugins.plugins(as_json=True)
    found = json.loads(capsys.readouterr().out)
    plugins.plugins(as_json=False)
    shown = capsys.readouterr().out

    assert [one["error"] for one in found["broken"]] == ["RuntimeError: broken on purpose"]
    assert "online" in {one["name"] for one in found["policies"]}
    assert "RuntimeError: broken on purpose" in shown


@pytest.mark.parametrize("arguments", [["--help"], ["plugins"], ["schema"]])
def test_looking_around_loads_no_tensor_library(cli, arguments):
    script = (
        "import sys\nfrom paceline.cli.app import run\n"
        f"assert run({arguments!r}) == 0\n"
        "sys.exit(bool({'torch', 'transformers', 'numpy', 'starlette'} & sys.modules.keys()))"
    )

    done = subprocess.run(
        [sys.executable, "-Ic", script], capture_output=True, text=True, env=cli.environment(), check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_a_page_of_help_loads_no_command_and_no_part_of_a_run(cli):
    script = (
        "import sys\nfrom paceline.cli.app import COMMANDS, run\nassert run(['--help']) == 0\n"
        "modules = {f'paceline.cli.{name.replace(chr(45), chr(95))}' for name in COMMANDS}\n"
        "print(sorted((modules | {'pydantic', 'yaml', 'structlog', 'paceline.core.decoder'}) & sys.modules.keys()))"
    )

    done = subprocess.run(
        [sys.executable, "-Ic", script], capture_output=True, text=True, env=cli.environment(), check=True
    )

    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_each_says_of_itself(name):
    assert COMMANDS[name] == " ".join(load(name).help.partition("\n\n")[0].split())


def test_a_shell_completes_commands_and_their_options(cli):
    for words, expected in (("paceline gen", ["generate"]), ("paceline generate --temp", ["--temperature"])):
        asked = {
            "COMP_WORDS": words,
            "COMP_CWORD": str(words.count(" ")),
            "_PACELINE_COMPLETE": "complete_bash",
        }
        assert cli.call(**asked, code=0).stdout.split() == expected


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
        assert {"plain", "static-1", "static-8", "online", "lookup"} <= modes.keys()
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

    @pytest.mark.parametrize("blocks", [0, 2])
    def test_being_stopped_reports_the_blocks_that_were_finished(
        self, cli, toy, run_here, monkeypatch, capsys, blocks
    ):
        prompts = cli.file("prompts.jsonl", '{"text": "abc"}\n{"text": "bcd"}\n')
        measured, modes = LoopMode.run, 2
        calls = itertools.count(1)

        def until_stopped(mode, prompt, limit):
            # The warm-up runs every mode once; the interruption hits the second mode of a block.
            if next(calls) == modes + blocks * modes + 2:
                raise KeyboardInterrupt
            return measured(mode, prompt, limit)

        monkeypatch.setattr(LoopMode, "run", until_stopped)
        code = run_here("bench", "-c", toy, "--prompts", prompts, "-p", "static-2", "-r", 9, "--json")

        found = json.loads(capsys.readouterr().out)
        assert (code, found["interrupted"], len(found["runs"])) == (1, True, blocks * modes)

    def test_a_mode_that_writes_something_else_fails_the_bench_and_is_named(
        self, cli, toy, run_here, monkeypatch, capsys
    ):
        prompts = cli.file("prompts.jsonl", '{"text": "abc", "id": "one"}\n')
        monkeypatch.setattr(
            ToyConfig,
            "reference_modes",
            lambda self, run, target, draft: {"lib generate": lambda prompt, limit: [1] * limit},
        )
        code = run_here("bench", "-c", toy, "--prompts", prompts, "-p", "lib generate", "-r", 1)

        shown = capsys.readouterr().out
        assert code == 1
        assert "1 differ" in shown
        assert "lib generate differs from plain on one (repeat 0) at new token" in shown
        assert "lib generate" in shown.split("compared")[1].splitlines()[0]

    def test_a_mode_that_fails_is_named_and_left_out(self, cli, toy, run_here, monkeypatch, capsys):
        prompts = cli.file("prompts.jsonl", '{"text": "abc"}\n')

        def refuse(prompt, limit):
            raise ValueError("not with this model")

        monkeypatch.setattr(ToyConfig, "reference_modes", lambda self, run, target, draft: {"lib": refuse})
        code = run_here("bench", "-c", toy, "--prompts", prompts, "-p", "lib,static-2", "-r", 1)

        told = capsys.readouterr()
        assert code == 1
        assert "mode 'lib' failed and was left out: ValueError: not with this model" in told.err
        assert "static-2" in told.out


WITHOUT_LIBRARIES = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name in {"numpy", "matplotlib", "jinja2", "zstandard", "pyarrow", "torch", "transformers"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from paceline.cli.app import run
sys.exit(run(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ("generate", "the", "-n", "5", "--compare", "--json"),
        ("plugins",),
        ("schema",),
        ("doctor",),
        ("new-policy", "see-saw"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_commands_around_decoding_need_no_extra(cli, toy, arguments):
    given = ["-c", toy] if arguments[0] in {"generate", "doctor"} else []
    done = subprocess.run(
        [sys.executable, "-Ic", WITHOUT_LIBRARIES, *arguments, *map(str, given)],
        cwd=cli.folder,
        env=cli.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
