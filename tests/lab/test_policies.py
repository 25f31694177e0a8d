"""Policies by short names."""

from typing import Literal

import pytest

from paceline import Catalogue, hookimpl
from paceline.core.config.blocks import PolicyConfig
from paceline.core.config.resolve import AnyPolicy
from paceline.core.errors import ConfigError
from paceline.lab.policies import parse_policy, split
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
        ("online:window", "key=value"),
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


def test_braces_and_brackets_hold_together():
    assert split("a, b:x=[1,2] ,c:y={n: 1, m: {k: 2}},", ",") == ["a", "b:x=[1,2]", "c:y={n: 1, m: {k: 2}}"]
    assert split("", ",") == []
