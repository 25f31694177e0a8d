"""Loading takes the memory of one copy of the weights, and of one cache, and large pages change no bit."""

import json
import mmap
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from paceline.backends.graph import GraphConfig, GraphTarget
from paceline.backends.graph.engine import MARGIN
from paceline.backends.torch import pages
from paceline.backends.torch.pages import FileMappings, enlarge_pages, span_of
from paceline.backends.transformers.config import HfConfig
from paceline.core.environment import huge_page_bytes, huge_page_setting

torch.set_num_threads(1)

linux = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the peak")
SHAPE = {
    "vocab_size": 12_000,
    "hidden_size": 384,
    "intermediate_size": 1152,
    "num_hidden_layers": 10,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}

MEASURE = """
import json, pathlib, sys, tempfile

import torch

from paceline.backends.graph import GraphConfig

torch.set_num_threads(1)

def status(name):
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

with tempfile.TemporaryDirectory() as folder:  # all that is loaded when it is first needed
    GraphConfig.smallest(pathlib.Path(folder)).build_target().open([1, 2, 3]).verify(None)
for dtype in sys.argv[2:]:
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    before = status("VmRSS")
    block = GraphConfig(model=sys.argv[1], dtype=dtype, device="cpu", local_files_only=True)
    target = block.build_target()
    print(json.dumps({"dtype": dtype, "peak": status("VmHWM") - before}), file=sys.stderr)
    del target
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("llama")
    LlamaForCausalLM(LlamaConfig(**SHAPE, tie_word_embeddings=True)).save_pretrained(folder)
    return str(folder)


@linux
def test_loading_takes_the_memory_of_one_copy_of_the_weights(folder):
    stored = Path(folder, "model.safetensors").stat().st_size
    assert 60e6 < stored < 100e6
    numbers = 2 * 10 * 2 * 64 * (512 + MARGIN)
    done = subprocess.run(
        [sys.executable, "-I", "-c", MEASURE, folder, "float32", "bfloat16"],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    peaks = {line["dtype"]: line["peak"] for line in lines}
    assert peaks["float32"] <= 1.15 * (stored + 4 * numbers), peaks
    assert peaks["bfloat16"] <= 1.15 * (stored / 2 + 2 * numbers), peaks


def logits_of(target):
    return target.open([1, 7, 5, 3]).logits()


def test_large_pages_change_no_bit(folder):
    block = {"model": folder, "device": "cpu", "local_files_only": True}
    for backend in (GraphConfig, HfConfig):
        small, large = (backend(**block, huge_pages=asked).build_target() for asked in (False, True))
        assert torch.equal(logits_of(small), logits_of(large))


@pytest.mark.skipif(
    huge_page_setting() not in {"always", "madvise"},
    reason="this system gives no large pages to those who ask",
)
def test_weights_come_to_lie_in_large_pages():
    weights = torch.frombuffer(mmap.mmap(-1, 2**25, mmap.MAP_PRIVATE), dtype=torch.float32).fill_(1.0)
    before = huge_page_bytes()
    enlarge_pages([weights])
    assert huge_page_bytes() - before >= 2**25 - 2 * 2**21
    assert bool((weights == 1.0).all())


@linux
def test_pages_of_a_file_are_let_go_and_come_back_and_no_others_are(tmp_path):
    path = tmp_path / "numbers"
    path.write_bytes(bytes(range(256)) * 4096)
    stored = torch.from_file(str(path), shared=False, size=2**20, dtype=torch.uint8)
    before, files = stored.clone(), FileMappings()
    assert files.holds(stored)
    assert not files.holds(before)
    for tensor in (stored, before):
        files.let_go(tensor)
    assert torch.equal(stored, before)
    stored[5] = 77  # a page that is written to is no longer the file's
    assert not FileMappings().holds(stored)


def test_a_kernel_that_knows_no_large_pages_is_left_alone(monkeypatch):
    monkeypatch.setattr(pages, "huge_page_setting", lambda: None)
    monkeypatch.setattr(pages, "_advise", None)
    enlarge_pages([torch.ones(2**22)])


def test_a_model_in_memory_shares_what_is_not_packed(folder):
    model = LlamaForCausalLM.from_pretrained(folder)
    target = GraphTarget(model)
    assert span_of(target.engine.forward._embedding) == span_of(model.model.embed_tokens.weight)
    assert torch.equal(logits_of(target), logits_of(GraphTarget(model)))
