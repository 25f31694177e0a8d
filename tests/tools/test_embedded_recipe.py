"""The recipe of the embedded pair, run from end to end with toy sizes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from embedded_recipe import corpus, evaluate, measure, models, prompts  # noqa: E402
from embedded_recipe.distil import Sampling  # noqa: E402
from embedded_recipe.pipeline import Options, Run  # noqa: E402
from embedded_recipe.train import cross_entropy  # noqa: E402
from paceline.backends.distillation import store  # noqa: E402
from paceline.backends.distillation.muon import Pair, orthogonalise  # noqa: E402
from paceline.backends.distillation.shape import Shape, create  # noqa: E402
from paceline.backends.distillation.training import Plan, aims, distance  # noqa: E402

SHAPE = Shape(hidden=16, layers=3, inner=24, vocabulary=300, head=8, positions=128)
DRAFT = Shape(hidden=8, layers=1, inner=12, vocabulary=300, head=8, positions=128)
TOY = Plan(minutes=60, batch=2, length=16, warm_up=2, draft_every=1)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Return a folder that looks like a very small standard library."""
    folder = tmp_path / "lib"
    for i in range(40):
        place = folder / ("test" if i % 3 == 0 else "") / f"module{i}.py"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(
            "".join(f"def function_{i}_{k}(value):\n    return value + {k}\n\n" for k in range(12))
        )
    return folder


def options(tmp_path: Path, library: Path, steps: int) -> Options:
    return Options(
        out=tmp_path / "out",
        minutes=60,
        distil_minutes=60,
        stdlib=library,
        target=SHAPE,
        drafts=(("draft-small", DRAFT),),
        seed_plan=replace(TOY, steps=2),
        target_plan=replace(TOY, steps=steps),
        distil_plan=replace(TOY, steps=3),
        # No share of the time: one batch is drawn and no more, so that runs do not depend on the clock.
        sampling=Sampling(rows=2, prefix=4, new=4, share=0.0),
    )


def run(chosen: Options) -> Run:
    made = Run(chosen)
    made.resume()
    made.train()
    return made


def test_makes_a_pair_from_nothing(tmp_path: Path, library: Path) -> None:
    chosen = options(tmp_path, library, steps=4)
    made = run(chosen)
    assert made.state.stage == "distil" and made.state.step == 3
    pair = chosen.pair_folder
    assert (pair / "target" / "tokenizer.json").exists()
    assert not (pair / "draft-small" / "tokenizer.json").exists()
    assert json.loads((pair / "target" / "config.json").read_text())["num_hidden_layers"] == 3
    assert not list(tmp_path.rglob("*.bin")) and not list(tmp_path.rglob("*.pt"))


def test_goes_on_where_it_was_interrupted(tmp_path: Path, library: Path) -> None:
    whole = run(options(tmp_path / "a", library, steps=6))
    chosen = options(tmp_path / "b", library, steps=6)
    first = Run(chosen)
    first.resume()
    calls = 0
    save = first.save

    def interrupted() -> None:
        nonlocal calls
        save()
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt

    first.save = interrupted  # type: ignore[method-assign]
    first.options = replace(chosen, target_plan=replace(chosen.target_plan, checkpoint_minutes=0))
    with pytest.raises(KeyboardInterrupt):
        first.train()
    assert first.state.stage == "target" and first.state.step == 3
    second = run(chosen)
    assert second.state.tokens == whole.state.tokens
    for name, value in whole.models["target"].state_dict().items():
        assert torch.allclose(value, second.models["target"].state_dict()[name], atol=1e-5), name


def test_the_drafts_of_a_finished_pair_are_distilled_further(tmp_path: Path, library: Path) -> None:
    first = options(tmp_path / "a", library, steps=2)
    run(first)
    further = replace(first, out=tmp_path / "b", pair=first.pair_folder, only=("draft-small",))
    before, after = store.read_pair(first.pair_folder), run(further).models
    assert before.keys() == after.keys() == {"target", "draft-small"}
    changed = {
        name: any(
            not torch.equal(value, after[name].state_dict()[key]) for key, value in model.state_dict().items()
        )
        for name, model in before.items()
    }
    assert changed == {"target": False, "draft-small": True}
    with pytest.raises(ValueError, match="no draft-large"):
        run(replace(further, out=tmp_path / "c", only=("draft-large",)))


def test_the_loss_of_a_draft_is_its_distance_from_teacher_and_text() -> None:
    torch.manual_seed(0)
    teacher, student = torch.randn(2, 2, 5, 11, dtype=torch.float64)
    ids = torch.randint(0, 11, (2, 5))
    wanted = aims(teacher, ids, 0.3)
    assert torch.allclose(wanted[:, -1], teacher[:, -1].softmax(-1))
    one_hot = torch.nn.functional.one_hot(ids[:, 1:], 11)
    assert torch.allclose(wanted[:, :-1], 0.7 * teacher[:, :-1].softmax(-1) + 0.3 * one_hot)
    expected = torch.nn.functional.cross_entropy(student.flatten(0, 1), wanted.flatten(0, 1))
    assert torch.allclose(distance(student, wanted), expected)
    assert torch.autograd.gradcheck(lambda logits: distance(logits, wanted), student.requires_grad_())


def test_an_unfinished_checkpoint_is_not_read(tmp_path: Path, library: Path) -> None:
    chosen = options(tmp_path, library, steps=2)
    run(chosen)
    (chosen.out / "checkpoints" / "distil-000009").mkdir()
    found = store.load(chosen.out)
    assert found is not None and found[0].step == 3


def test_split_is_stable_and_disjoint(library: Path) -> None:
    documents = corpus.find_documents(stdlib=library)
    again = corpus.find_documents(stdlib=library)
    held = {d.name for d in documents if d.held_out}
    assert documents == again and held and held == {d.name for d in again if d.held_out}
    assert held.isdisjoint(d.name for d in documents if not d.held_out)
    assert {d.kind for d in documents} == {"code", "tests"}
    # The choice is by name alone and must never move: prompts were taken from these files.
    assert corpus.Document("lib/email/mime/text.py", "code", "").held_out
    assert not corpus.Document("lib/os.py", "code", "").held_out


def test_every_block_comes_once_an_epoch() -> None:
    import numpy as np

    tokens = np.arange(1000, dtype=np.uint16)
    rows = [corpus.blocks(tokens, 10, 7, step, seed=3) for step in range(14)]
    starts = sorted(int(row[0]) for batch in rows for row in batch)
    assert len(set(starts)) == 98
    assert all((row[1:] - row[:-1] == 1).all() for batch in rows for row in batch)


def test_pruning_nothing_changes_nothing() -> None:
    model = create(SHAPE, seed=0)
    ids = torch.randint(0, 300, (2, 12))
    assert torch.equal(models.prune(model, SHAPE.inner, ids)(ids).logits, model(ids).logits)


def test_pruning_drops_the_neurons_that_do_nothing() -> None:
    model = create(SHAPE, seed=0)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mlp.down_proj.weight[:, 5:13] = 0
    ids = torch.randint(0, 300, (2, 12))
    smaller = models.prune(model, SHAPE.inner - 8, ids)
    assert smaller.config.intermediate_size == SHAPE.inner - 8
    assert torch.allclose(smaller(ids).logits, model(ids).logits, atol=1e-6)
    layer = smaller.model.layers[1].mlp.gate_proj.weight
    assert torch.equal(layer[5:], model.model.layers[1].mlp.gate_proj.weight[13:])


def test_growing_keeps_the_function() -> None:
    model = create(replace(SHAPE, layers=2), seed=0)
    ids = torch.randint(0, 300, (2, 12))
    deeper = models.grow(model, 4)
    assert len(deeper.model.layers) == 4
    assert torch.allclose(deeper(ids).logits, model(ids).logits, atol=1e-6)


@pytest.mark.parametrize("shape", [(16, 16), (12, 30), (30, 12)])
def test_orthogonalise_evens_out_the_singular_values(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(shape), steps=5))
    assert values.max() < 1.4 and values.median() > 0.5


def test_optimiser_learns_and_remembers() -> None:
    model = create(SHAPE, seed=0)
    optimiser = Pair(model, 0.02, 0.01)
    ids = torch.randint(0, 300, (2, 16), generator=torch.Generator().manual_seed(0))
    losses = []
    for _ in range(8):
        loss = cross_entropy(model(ids).logits, ids)
        loss.backward()
        optimiser.step(1.0)
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.5
    other = Pair(model, 0.02, 0.01)
    other.load(optimiser.state())
    assert all(torch.equal(value, other.state()[name]) for name, value in optimiser.state().items())


def test_loop_detector() -> None:
    rising = list(range(200))
    for period in (1, 2, 31, 32):
        assert evaluate.loops(rising[:50] + [i % period for i in range(64)])
        assert not evaluate.loops(rising[:50] + [i % period for i in range(63)] + [999])
    assert not evaluate.loops([i % 33 for i in range(200)])
    assert not evaluate.loops([7] * 63)
    assert not evaluate.loops(rising)
    assert evaluate.repetition(rising) == 0.0
    assert evaluate.repetition([1] * 100) > 0.98


def test_measures_of_a_model_against_itself(tmp_path: Path, library: Path) -> None:
    model = create(SHAPE, seed=0)
    rows = torch.randint(0, 300, (3, 20))
    found = evaluate.text_measures({"target": model, "draft": model}, rows)
    assert found["draft"]["agreement"] == 1.0
    assert found["draft"]["overlap"] == pytest.approx(1.0, abs=1e-4)
    assert found["draft"]["loss"] == found["target"]["loss"]


def test_prompts_come_from_held_out_documents(tmp_path: Path, library: Path) -> None:
    made = Run(options(tmp_path, library, steps=1))
    held = {d.name: d.text for d in made.held_out}
    chosen = prompts.choose([*made.training, *made.held_out], made.tokenizer, each=2)
    taken = [p for p in chosen if p["kind"] != "unfamiliar"]
    assert taken and all(p["text"] in held[p["source"]] for p in taken)
    assert len({p["id"] for p in chosen}) == len(chosen)


def test_the_command_measures_a_pair(
    tmp_path: Path, library: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "NAMES", ("target", "draft-small"))
    chosen = options(tmp_path, library, steps=1)
    run(chosen)
    newer, listed, out = tmp_path / "newer", tmp_path / "prompts.json", tmp_path / "measures.json"
    newer.mkdir()
    (newer / "module1.py").write_text("".join(f"a_namesake_is_left_out = {i}\n" for i in range(99)))
    (newer / "copied.py").write_text(
        (library / "module1.py").read_text() * 9 + "x = 'a line of its own here'\n"
    )
    (newer / "novel.py").write_text("".join(f"something_entirely_new = {i}\n" for i in range(99)))
    listed.write_text(json.dumps([{"id": "a", "kind": "code", "text": "def function", "source": "here"}]))
    monkeypatch.setattr(evaluate, "LENGTH", 32)
    measure.main(
        f"--pair {chosen.pair_folder} --start {chosen.pair_folder / 'target'} --out {out} --stdlib {library}"
        f" --fresh {newer} --prompts {listed} --blocks 1 --new 12 --threads 1".split()
    )
    found = json.loads(out.read_text())
    assert found["fresh files"] == {"lib/novel.py": "code"}
    for part in ("held out", "fresh"):
        row = found[part]["code"]
        assert row["start"]["loss"] == row["target"]["loss"] != row["draft-small"]["loss"]
    assert set(found["greedy"]["code"]) == {"loop", "repeats", "repetition", "draft-small agreement"}
    assert "Writing" not in capfd.readouterr().err


def test_the_shipped_prompts_cover_every_kind() -> None:
    listed = json.loads(measure.PROMPTS.read_text(encoding="utf-8"))
    kinds = [p["kind"] for p in listed]
    assert len({p["id"] for p in listed}) == len(listed)
    assert all(kinds.count(kind) >= 4 for kind in (*corpus.KINDS, "unfamiliar"))
