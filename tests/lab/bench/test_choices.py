"""Modes that a bench runs."""

from typing import Literal

import pytest

from paceline import Catalogue, hookimpl
from paceline.backends import prompt_lookup as lookup
from paceline.backends import toy
from paceline.core.config.blocks import PolicyConfig
from paceline.core.config.load import load_config
from paceline.core.errors import CapabilityError, ConfigError
from paceline.core.records import Requirements
from paceline.lab.bench.choices import choose
from paceline.lab.models import load_models
from paceline.policies.online import OnlineConfig
from paceline.policies.static import StaticConfig
from paceline.testing import ScriptedPolicy


class PickyConfig(PolicyConfig):
    """Needs a signal of every draft, unless it is told which draft to use."""

    name: Literal["picky"] = "picky"
    draft: str | None = None

    def build(self, seed=0):
        policy = ScriptedPolicy([1])
        switch = "round" if self.draft is None else "none"
        policy.requires = Requirements(signals=frozenset({"top1"}), draft=self.draft, draft_switch=switch)
        return policy


class NeedyConfig(PolicyConfig):
    """Cannot be had with its defaults."""

    name: Literal["needy"] = "needy"
    must: int

    def build(self, seed=0):
        return ScriptedPolicy([self.must])


class ImpossibleConfig(PolicyConfig):
    """Fits no engine: it stops by a signal that no draft has."""

    name: Literal["impossible"] = "impossible"

    def build(self, seed=0):
        policy = ScriptedPolicy([1])
        policy.requires = Requirements(signals=frozenset({"temperature"}))
        return policy


class Plugin:
    @hookimpl
    def register_policies(self):
        return [StaticConfig, OnlineConfig, PickyConfig, NeedyConfig, ImpossibleConfig]

    @hookimpl
    def register_backends(self):
        return [toy.ToyConfig, lookup.PromptLookupConfig]


CATALOGUE = Catalogue.load([Plugin()], installed=False)


def parts(tmp_path, drafts="{good: toy}", policy="online"):
    path = tmp_path / "run.yaml"
    path.write_text(f"target: toy\ndrafts: {drafts}\npolicy: {policy}\n")
    return load_models(load_config(path, catalogue=CATALOGUE))


def test_the_default_modes(tmp_path):
    names = list(choose(parts(tmp_path), CATALOGUE).modes)

    assert names == ["plain", *(f"static-{gamma}" for gamma in (1, 2, 3, 4, 5, 6, 8)), "online", "lookup"]


def test_the_configured_policy_is_among_them_when_it_is_another(tmp_path):
    assert "config" in choose(parts(tmp_path, policy="{name: online, window: 3}"), CATALOGUE).modes
    assert "config" not in choose(parts(tmp_path, policy="{name: static, gamma: 5}"), CATALOGUE).modes


def test_with_several_drafts_there_are_static_gammas_for_each(tmp_path):
    choice = choose(parts(tmp_path, "{good: toy, other: {backend: toy, agreement: 0.2}}"), CATALOGUE)

    assert {"static-4", "static-2:draft=other", "static-8:draft=other"} <= set(choice.static)
    assert set(choice.static) <= choice.modes.keys()


def test_all_is_every_policy_that_fits_and_the_reason_for_those_that_do_not(tmp_path):
    choice = choose(parts(tmp_path), CATALOGUE, ["all"])

    assert {"plain", "static-4", "online", "picky", "lookup"} <= choice.modes.keys()
    assert choice.left_out.keys() == {"needy", "impossible"}
    assert "must" in choice.left_out["needy"]
    assert "does not fit this engine" in choice.left_out["impossible"]


def test_what_does_not_fit_all_drafts_is_tried_with_the_first(tmp_path):
    choice = choose(parts(tmp_path, "{good: toy, lookup: prompt-lookup}"), CATALOGUE, ["all"])

    assert "'lookup' does not deliver" in choice.left_out["picky"]
    assert choice.left_out["picky"].endswith("instead, 'picky:draft=good' was tried")
    assert "picky:draft=good" in choice.modes
    assert "instead" not in choice.left_out["needy"]


def test_all_can_be_joined_by_others_and_names_nothing_twice(tmp_path):
    choice = choose(parts(tmp_path), CATALOGUE, ["online", "all", "online:window=3"])

    assert "online:window=3" in choice.modes
    assert list(choice.modes).count("online") == 1


@pytest.mark.parametrize(("name", "error"), [("impossible", CapabilityError), ("needy", ConfigError)])
def test_what_was_asked_for_by_name_must_fit(tmp_path, name, error):
    with pytest.raises(error):
        choose(parts(tmp_path), CATALOGUE, ["all", name])


def test_static_policies_are_known_whatever_their_name(tmp_path):
    choice = choose(parts(tmp_path), CATALOGUE, ["static:gamma=7", "lookup"])

    assert choice.static == ["static:gamma=7"]
