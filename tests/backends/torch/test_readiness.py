"""Facts of a model read before its weights are those it would be refused by."""

import shutil
from pathlib import Path

import pytest
import torch

from paceline import Catalogue, load_config
from paceline.cli import _checks
from paceline.cli._checks import check_run

from ..tiny_models import tiny_model
from .stand_ins import folder_of, tokenizer_of

torch.set_num_threads(1)

CATALOGUE = Catalogue.load()


def findings(target, drafts=None, *, trials=None, **rest):
    config = load_config(
        {"target": target, "drafts": drafts or {}, "policy": "auto", **rest}, catalogue=CATALOGUE
    )
    return check_run(config, CATALOGUE, trials or {})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    tokenizer = tokenizer_of(eos="<end>")
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    return folder_of(tmp_path_factory.mktemp("llama"), tokenizer=tokenizer, dtype=torch.float32)


def model(folder, backend="hf", **options):
    return {"backend": backend, "model": str(folder), "device": "cpu", "local_files_only": True, **options}


def refusals(block):
    """Return what a run says when it is built."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the sentence is what matters
        load_config({"target": block}).target.build_target()
    return str(caught.value)


@pytest.mark.parametrize("backend", ["hf", "graph"])
def test_a_pair_that_fits_has_no_problems_and_needs_the_memory_of_both(folder, backend):
    found = findings(model(folder, backend), {"small": model(folder, backend)})
    assert (found.problems, found.remarks, found.unused) == ([], [], {})
    assert 2 * Path(folder, "model.safetensors").stat().st_size < found.memory["cpu"]["needed"] < 10e6
    assert found.memory["cpu"]["there"] > 0


@pytest.mark.parametrize("backend", ["hf", "graph"])
def test_capabilities_are_known_before_the_weights_are_read(folder, backend):
    config = load_config({"target": model(folder, backend)}, catalogue=CATALOGUE)
    known = config.target.check_target(config).capabilities
    assert known == config.target.build_target().capabilities
    assert known.nodes > 0


def test_a_model_that_reads_no_trees_is_told_of_by_name(tmp_path):
    folder = tmp_path / "windows"
    tiny_model("mistral", dtype=torch.float32).save_pretrained(folder)
    tokenizer_of(eos="<end>").save_pretrained(folder)
    known = load_config({"target": model(folder)}).target
    remarks = " ".join(findings(model(folder)).remarks)
    assert "reads chains of draft tokens alone, no trees: its cache has layers of the kind Dyn" in remarks
    assert known.build_target().capabilities.nodes == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("backend", ["hf", "graph"])
def test_a_device_that_is_not_there_is_a_problem(folder, backend):
    (problem,) = findings(model(folder, backend, device="cuda")).problems
    assert problem.startswith(f"target: {backend}: torch cannot use the device 'cuda'")


@pytest.mark.parametrize("backend", ["hf", "graph"])
def test_a_folder_that_is_not_there_is_a_problem_of_target_and_draft(folder, backend):
    found = findings(model("/no/such/folder", backend), {"small": model("/no/such/folder", backend)})
    assert [problem.partition(":")[0] for problem in found.problems] == ["target", "drafts.small"]
    assert "There is no such folder" in found.problems[0]


def test_what_the_backends_refuse_by_is_what_the_doctor_says(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "cut")
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    wide = shutil.copytree(folder, tmp_path / "wide")
    settings = wide / "config.json"
    settings.write_text(settings.read_text().replace('"num_key_value_heads": 2', '"num_key_value_heads": 4'))
    for block in (
        model(tmp_path / "cut"),
        model(folder, "graph", max_context=9999),
        model(folder, tokenizer=str(tmp_path)),
        model(wide),
    ):
        assert findings(block).problems == [f"target: {refusals(block)}"]


def test_the_weights_are_not_read(folder, monkeypatch):
    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", None)
    assert findings(model(folder), {"small": model(folder, "graph")}).problems == []


def test_more_memory_than_there_is_is_a_problem(folder, monkeypatch):
    monkeypatch.setattr(_checks, "free_memory", lambda device: 1000)
    (problem,) = findings(model(folder)).problems
    assert problem.startswith("memory: the models need at least")
    assert "on cpu, and 0 MiB are there" in problem


def test_a_draft_with_another_tokenizer_is_told_of_and_a_policy_that_needs_its_signals_refused(
    folder, tmp_path
):
    other = folder_of(tmp_path, tokenizer=tokenizer_of("zyxwvutsrqponmlkjihgfedcba"), dtype=torch.float32)
    found = findings(model(folder), {"small": model(other)})
    assert "drafts.small: its text is re-encoded" in found.remarks[0]
    assert found.problems == []
    (problem,) = findings(model(folder), {"small": model(other)}, policy="confidence").problems
    assert "stops drafting by" in problem


def test_pairs_without_tokenizers_and_with_other_vocabularies_are_told_of(folder, tmp_path):
    bare = folder_of(tmp_path, vocab_size=50, dtype=torch.float32)
    found = findings(model(bare), {"small": model(folder)})
    assert "target: it has no tokenizer, so prompts are tokens" in found.remarks
    assert any("it has 96 tokens and the target 50" in remark for remark in found.remarks)


def test_chat_templates_are_tried(folder, tmp_path):
    for text, said in (("{{ broken", "cannot be used"), (None, "no chat template")):
        shutil.rmtree(tmp_path / "one", ignore_errors=True)
        shutil.copytree(folder, tmp_path / "one")
        (tmp_path / "one" / "chat_template.jinja").unlink()
        if text is not None:
            (tmp_path / "one" / "chat_template.jinja").write_text(text)
        assert said in findings(model(tmp_path / "one")).remarks[0]


def test_a_toy_draft_knows_only_toy_targets(folder):
    (problem,) = findings(model(folder), {"small": "toy"}).problems
    assert problem.startswith("drafts.small: a toy draft knows only toy targets")


def test_a_family_that_the_backend_does_not_run_is_a_problem(tmp_path):
    tiny_model("gemma2", dtype=torch.float32).save_pretrained(tmp_path)
    (problem,) = findings(model(tmp_path, "graph")).problems
    assert problem.removeprefix("target: ") == refusals(model(tmp_path, "graph"))
    assert "is a gemma2 model" in problem
    assert findings(model(tmp_path)).problems == []
