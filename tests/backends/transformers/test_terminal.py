"""Nothing that transformers says about calls of our own reaches the user's terminal."""

import logging

import pytest
import torch
from transformers.utils import logging as hf_logging

from paceline.backends.torch.host import no_progress_bars, no_warnings
from paceline.backends.transformers import reference
from paceline.backends.transformers.host.cache import STATIC_CACHES_ROLL_BACK
from paceline.core.sampling import GREEDY

from ..tiny_models import noisy_copy, tiny_model

torch.set_num_threads(1)


@pytest.fixture
def said():
    """Collect what transformers writes by its logger."""
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    # What is said once only counts anew here.
    logging.Logger.warning_once.cache_clear()
    logging.getLogger("transformers").addHandler(handler)
    yield lines
    logging.getLogger("transformers").removeHandler(handler)


def test_ways_that_a_bench_runs_beside_ours_say_nothing(said, monkeypatch):
    model = tiny_model("llama")
    before = hf_logging.get_verbosity()
    # As on a GPU, where two more ways are offered.
    monkeypatch.setattr(reference, "COMPILING", {"cpu"})
    draft = noisy_copy(model)
    ways = reference.reference_modes(lambda: model, lambda: draft, frozenset(), GREEDY, device=model.device)
    assert {"hf generate", "hf compiled", "hf lookup", "hf assisted", "hf adaptive"} <= ways.keys()
    assert ("hf compiled assisted" in ways) == STATIC_CACHES_ROLL_BACK
    texts = {name: way([3, 1, 4], 20) for name, way in ways.items()}
    assert all(text == texts["hf generate"] for text in texts.values())
    assert said == []
    assert hf_logging.get_verbosity() == before


def test_what_is_switched_off_comes_back_after_an_error():
    verbosity, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    with pytest.raises(ValueError, match="inside"), no_warnings(), no_progress_bars():
        raise ValueError("inside")
    assert (hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()) == (verbosity, bars)
