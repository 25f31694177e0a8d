"""Drafts by short names."""

import pytest

from paceline import Catalogue, load_config
from paceline.core.errors import ConfigError
from paceline.lab.drafts import with_drafts

CATALOGUE = Catalogue.load()


def run_with(text, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    return load_config(path)


def test_the_runs_own_drafts_go_first_and_others_are_found_by_short_names(tmp_path):
    run = run_with("target: toy\ndrafts: {small: {backend: toy, agreement: 0.5}, other: toy}\n", tmp_path)

    drafts = with_drafts(run, ["lookup", "small", "medium"], CATALOGUE).drafts

    assert list(drafts) == ["lookup", "small", "medium"]
    assert [draft.backend for draft in drafts.values()] == ["prompt-lookup", "toy", "embedded"]
    assert drafts["small"].agreement == 0.5
    assert drafts["medium"].size == "medium"


def test_a_backend_can_be_named_itself(tmp_path):
    assert (
        with_drafts(run_with("policy: online\n", tmp_path), ["toy"], CATALOGUE).drafts["toy"].backend == "toy"
    )


@pytest.mark.parametrize(
    ("names", "complaint"),
    [(["smal"], "small, medium"), (["lookup", "lookup"], "once"), (["hf"], "model")],
)
def test_names_that_stand_for_nothing_are_refused(names, complaint, tmp_path):
    with pytest.raises(ConfigError, match=complaint):
        with_drafts(run_with("policy: online\n", tmp_path), names, CATALOGUE)
