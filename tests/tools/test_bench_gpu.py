"""The bench for a GPU runs through on a CPU, with tiny models; what it times there means nothing."""

import json

import pytest
import torch

from bench_gpu.__main__ import main
from bench_gpu.models import ImposedTarget
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.testing.doubles import ScriptedPolicy

from ..backends.graph.cuda.programs import made, model_of

torch.set_num_threads(1)


def test_it_measures_all_that_it_promises_and_writes_a_page(tmp_path, capsys):
    main(["--tiny", "--out", str(tmp_path)])
    found = json.loads((tmp_path / "bench.json").read_text())
    assert [row["gamma"] for row in found["programs"]["16"]] == [0, 1, 2, 3, 4, 6, 8, 12, 16]
    assert all(row["verify_s"] > 0 for rows in found["programs"].values() for row in rows)
    for table in ("modes", "imposed", "agreeing"):
        assert not [row for row in found[table] if "error" in row]
    page = (tmp_path / "page.md").read_text()
    assert "INVALID" in page
    assert page.count("| hf compiled | 1.00 |") == 3
    assert "graph gamma 4, imposed 0.8" in page
    assert "share of the roofline" in page
    assert "page.md" in capsys.readouterr().out


def test_it_says_so_where_there_is_no_gpu(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        main([])
    assert "no CUDA device was found" in capsys.readouterr().err


@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
def test_acceptance_is_what_was_imposed(rate):
    model = model_of("llama")
    target, drafts = made(model, {"far": model_of("llama", seed=5)})
    imposed = ImposedTarget(target.engine, rate)
    imposed.capabilities = target.capabilities
    decoder = SpeculativeDecoder(imposed, drafts, ScriptedPolicy([1]), eos=frozenset())
    totals = [decoder.generate([start, 1, 4], max_new_tokens=70).totals for start in range(6)]
    accepted, drafted = sum(x.accepted for x in totals), sum(x.drafted for x in totals)
    assert accepted / drafted == pytest.approx(rate, abs=0.1)
