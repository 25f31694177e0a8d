"""The smallest multiple is found under which blocks of any length give the same logits."""

from __future__ import annotations

import re

import numpy as np
import pytest

from paceline_llamacpp import LlamaCppConfig


@pytest.fixture
def blocks(build):
    import paceline_llamacpp.blocks as module

    return module


def test_the_multiple_that_is_found_keeps_texts_equal(blocks, tiny, capsys):
    assert blocks.main([str(tiny), "--cache-type", "f32"]) == 0
    *others, last = capsys.readouterr().out.splitlines()
    assert all("logits change with the length" in line for line in others)
    multiple = int(re.findall(r"block_multiple +(\d+): every length gives the same", last)[0])
    target = LlamaCppConfig(model=str(tiny), cache_type="f32", block_multiple=multiple).build_target()
    assert blocks.is_steady(target.engine)


def test_a_change_with_the_length_is_seen(blocks, build, monkeypatch):
    engine = build().engine
    feed = type(engine).feed

    def uneven(self, sequence, start, tokens, rows):
        logits = feed(self, sequence, start, tokens, rows)
        return logits if len(tokens) == 1 else np.nextafter(logits, np.float32(np.inf))

    monkeypatch.setattr(type(engine), "feed", uneven)
    assert not blocks.is_steady(engine)
