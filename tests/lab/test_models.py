"""Models of a run, and what their drafts may know."""

import pytest

from paceline.core.config.load import load_config
from paceline.core.plugins.catalogue import Catalogue
from paceline.core.sampling import GREEDY
from paceline.lab.models import load_models
from paceline.lab.recording.recorder import Recorder
from paceline.lab.short_names import plain_decoder
from paceline.lab.workloads.prompts import Prompt

RUN = load_config({"target": "toy", "drafts": {"suffix": "suffix"}, "policy": "auto"})


@pytest.mark.parametrize("remember", [False, True])
def test_what_is_measured_again_and_again_is_not_remembered(remember):
    parts = load_models(RUN, remember=remember)
    recorder = Recorder(plain_decoder(parts, Catalogue.load()), parts.drafts, GREEDY, longest=8)
    prompt = Prompt("a", "toy", (1, 2, 3))

    first, again = (recorder.text(prompt, 40).drafts["suffix"].agreed.sum() for _ in range(2))
    assert (first == again) is not remember


def test_a_decoder_without_trace_remembers_nothing():
    parts = load_models(RUN, remember=True)
    with parts.decoder() as decoder:
        untraced = parts.untraced(decoder)
        for _ in range(2):
            untraced.generate([1, 2, 3], max_new_tokens=40)

    assert parts.drafts["suffix"].open([1, 2, 3]).match_length == 0
