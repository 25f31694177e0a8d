"""Policies and drafts by short names."""

from typing import Literal

import pytest

from paceline import Catalogue, hookimpl, load_config
from paceline.core.config.blocks import PolicyConfig
from paceline.core.config.resolve import AnyPolicy
from paceline.core.errors import CapabilityError, ConfigError
from paceline.lab.short_names import parse_policy, select, split, with_drafts
from paceline.policies.online import OnlineConfig
from paceline.policies.static import StaticConfig


class HoldingConfig(PolicyConfig):
    """Hold a policy."""

    name: Literal["holding"] = "holding"
    length: AnyPolicy = OnlineConfig()
    spare: AnyPolicy | None = None

    def build(self, seed=0):
        return self.length.build(seed)


class Plugin:
    @hookimpl
    def register_policies(self):
        return [HoldingConfig, StaticConfig, OnlineConfig]


CATALOGUE = Catalogue.load([Plugin()], installed=False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("static-7", StaticConfig(gamma=7)),
        ("static-2:draft=lookup", StaticConfig(gamma=2, draft="lookup")),
        ("online:window=5:max_gamma=8", OnlineConfig(window=5, max_gamma=8)),
        ("online:prior=[3, 1]", OnlineConfig(prior=(3.0, 1.0))),
        ("holding", HoldingConfig()),
        ("holding:length=static", HoldingConfig(length=StaticConfig())),
        ("holding:length=static:length.gamma=2", HoldingConfig(length=StaticConfig(gamma=2))),
        ("holding:length.window=3", HoldingConfig(length=OnlineConfig(window=3))),
        ("holding:length={name: static, gamma: 2}", HoldingConfig(length=StaticConfig(gamma=2))),
        (
            "holding:spare=holding:spare.length=static",
            HoldingConfig(spare=HoldingConfig(length=StaticConfig())),
        ),
    ],
)
def test_what_short_names_stand_for(text, expected):
    assert parse_policy(text, CATALOGUE) == expected


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("onlin", "did you mean 'online'"),
        ("online:windw=3", "windw"),
        ("online:window", "option=value"),
        ("holding:length.windw=3", "windw"),
        ("holding:length.name=onlin", "did you mean 'online'"),
        ("holding:lenth.window=3", "lenth"),
        ("holding:length.window=0", "greater than or equal to 1"),
        ("", "policy"),
    ],
)
def test_wrong_names_and_options_are_told(text, complaint):
    with pytest.raises(ConfigError, match=complaint):
        parse_policy(text, CATALOGUE)


def test_a_complaint_of_a_policy_is_told_in_its_own_words():
    with pytest.raises(ConfigError) as caught:
        parse_policy("static:gamma=4:nodes=2", CATALOGUE)
    assert "static:gamma=4:nodes=2': a tree has nodes >= gamma" in str(caught.value)


def test_braces_and_brackets_hold_together():
    assert split("a, b:x=[1,2] ,c:y={n: 1, m: {k: 2}},", ",") == ["a", "b:x=[1,2]", "c:y={n: 1, m: {k: 2}}"]
    assert split("", ",") == []


def chosen(*names, strict=False):
    """Choose among names of which each says what becomes of it."""

    def make(name):
        if name.startswith("unknown"):
            raise ConfigError("there is no such policy")
        if name == "unfit":
            raise CapabilityError("it does not fit")
        return name.upper()

    return select(
        names,
        make,
        base="base",
        usual=lambda: ["usual", "unfit"],
        every=lambda: ["usual", "more", "unknown"],
        drafts=["a", "b"],
        strict=strict,
    )


def test_plain_decoding_is_always_chosen_and_the_usual_ones_where_none_is_named():
    assert list(chosen().made) == ["base", "usual", "unfit:draft=a"]
    assert list(chosen("x").made.items()) == [("base", "BASE"), ("x", "X")]
    assert list(chosen("all", "x").made) == ["base", "usual", "more", "x"]


def test_what_does_not_fit_is_left_out_and_tried_with_the_first_draft_alone():
    assert chosen().left_out == {"unfit": "it does not fit; instead, 'unfit:draft=a' was tried"}
    assert chosen("all").left_out == {"unknown": "there is no such policy"}


def test_what_is_named_must_be_known_and_fit_or_be_refused():
    with pytest.raises(ConfigError, match="no such policy"):
        chosen("unknown")
    with pytest.raises(ConfigError, match="each policy can be tried once; found x, x"):
        chosen("x", "x")
    with pytest.raises(CapabilityError, match="does not fit"):
        chosen("unfit", strict=True)
    assert chosen("unfit").refused == ["unfit"]
    assert "unfit:draft=a" not in chosen("unfit").made


INSTALLED = Catalogue.load()


def run_with(text, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    return load_config(path)


def test_the_runs_own_drafts_go_first_and_others_are_found_by_short_names(tmp_path):
    run = run_with("target: toy\ndrafts: {small: {backend: toy, agreement: 0.5}, other: toy}\n", tmp_path)

    drafts = with_drafts(run, ["lookup", "small", "medium"], INSTALLED).drafts

    assert list(drafts) == ["lookup", "small", "medium"]
    assert [draft.backend for draft in drafts.values()] == ["prompt-lookup", "toy", "embedded"]
    assert drafts["small"].agreement == 0.5
    assert drafts["medium"].size == "medium"


def test_a_backend_can_be_named_itself(tmp_path):
    assert (
        with_drafts(run_with("policy: online\n", tmp_path), ["toy"], INSTALLED).drafts["toy"].backend == "toy"
    )


@pytest.mark.parametrize(
    ("names", "complaint"),
    [(["smal"], "small, medium"), (["lookup", "lookup"], "once"), (["hf"], "model")],
)
def test_names_that_stand_for_nothing_are_refused(names, complaint, tmp_path):
    with pytest.raises(ConfigError, match=complaint):
        with_drafts(run_with("policy: online\n", tmp_path), names, INSTALLED)
