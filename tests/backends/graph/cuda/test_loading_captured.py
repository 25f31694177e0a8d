"""A model that is loaded onto a GPU becomes programs; nothing here needs one."""

from types import SimpleNamespace

import pytest
import torch

from paceline.backends.graph import models
from paceline.backends.graph.config import GraphConfig
from paceline.core.errors import BackendError


@pytest.fixture
def opened(monkeypatch):
    """Return what was asked to be opened, models being on a make-believe GPU."""
    calls = []
    model = SimpleNamespace(device=torch.device("cuda", 0))
    monkeypatch.setattr(models, "_load", lambda config: (model, "tokenizer"))
    monkeypatch.setattr(models.loading, "usable", lambda made: made)
    monkeypatch.setattr(models.loading, "fitted", lambda draft, target: draft)

    def opening(which):
        return lambda *args, **options: calls.append((which, args, options)) or which

    for which in ("open_target", "open_draft"):
        monkeypatch.setattr(models, which, opening(which))
    return model, calls


def test_target_and_draft_are_opened_as_programs_with_what_the_block_says(opened):
    model, calls = opened
    config = GraphConfig(model="some/model", max_context=100)
    assert models.load_target(config) == "open_target"
    assert models.load_draft(config, "target") == "open_draft"
    for which, args, options in calls:
        assert args == (model, "tokenizer")
        assert (options["name"], options["max_context"], options["consume"]) == ("some/model", 100, True)
        assert options.get("target") == ("target" if which == "open_draft" else None)


def test_the_same_bits_are_not_promised_on_a_gpu(opened):
    config = GraphConfig(model="some/model", deterministic=True)
    with pytest.raises(BackendError, match=r"promised on the CPU only.*device: cpu"):
        models.load_target(config)
    assert not opened[1]
