"""A toy run, ready to be recorded."""

import pytest

from paceline.core.config.load import load_config
from paceline.core.plugins.catalogue import Catalogue
from paceline.lab.models import load_models
from paceline.lab.recording.recorder import Recorder
from paceline.lab.short_names import plain_decoder
from paceline.lab.workloads.prompts import Prompt

TOY = {
    "target": {"backend": "toy", "seed": 3, "eos_share": 0.02},
    "drafts": {
        "good": {"backend": "toy", "agreement": 0.8},
        "bad": {"backend": "toy", "agreement": 0.3},
        "lookup": {"backend": "prompt-lookup"},
    },
    "generation": {"max_new_tokens": 24},
}
PROMPTS = [Prompt(f"p{n}", ("code", "prose")[n % 2], tuple(range(1 + n, 6 + 2 * n))) for n in range(5)]


@pytest.fixture(scope="session")
def catalogue():
    return Catalogue.load()


@pytest.fixture(scope="session")
def toy_parts(catalogue):
    """Make the parts of a toy run, with some of its generation block changed."""

    def make(**generation):
        changed = {"generation": TOY["generation"] | generation}
        return load_models(load_config(TOY | changed, catalogue=catalogue))

    return make


@pytest.fixture(scope="session")
def toy_recorder(catalogue, toy_parts):
    """Make a recorder of a toy run."""

    def make(*, longest=5, signals=True, **generation):
        parts = toy_parts(**generation)
        sampling = parts.config.generation.sampling()
        return Recorder(plain_decoder(parts, catalogue), parts.drafts, sampling, longest, signals=signals)

    return make


@pytest.fixture(scope="session")
def prompts():
    return PROMPTS


@pytest.fixture(scope="session")
def toy_run():
    """Return the run file of the toy run, as values."""
    return TOY
