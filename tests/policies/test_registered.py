import pytest
from pydantic import ValidationError

from paceline import policies
from paceline.core.protocols import Mergeable, Policy
from paceline.policies.online import OnlineConfig
from paceline.policies.static import StaticConfig
from paceline.policies.thompson import ThompsonConfig


def test_the_hook_names_every_built_in_policy():
    names = [config.model_fields["name"].default for config in policies.register_policies()]
    assert names == ["static", "online", "thompson"]


def test_only_thompson_claims_to_be_mergeable():
    assert isinstance(ThompsonConfig().build(), Mergeable)
    assert not isinstance(OnlineConfig().build(), Mergeable)


@pytest.mark.parametrize("config", [StaticConfig(), OnlineConfig(), ThompsonConfig()])
def test_no_built_in_policy_asks_for_signals(config):
    policy: Policy = config.build()
    assert policy.needs == frozenset()


@pytest.mark.parametrize(
    ("config", "options"),
    [
        (StaticConfig, {"gamma": -1}),
        (OnlineConfig, {"max_accuracy": 1.0}),
        (OnlineConfig, {"window": 0}),
        (OnlineConfig, {"prior": [1.0, float("inf")]}),
        (OnlineConfig, {"prior": [-1.0, 1.0]}),
        (ThompsonConfig, {"prior": [0.0, 1.0]}),
        (ThompsonConfig, {"discount": 0.0}),
        (ThompsonConfig, {"discount": float("nan")}),
        (ThompsonConfig, {"gama": 3}),
    ],
)
def test_options_out_of_range_are_refused(config, options):
    with pytest.raises(ValidationError):
        config(**options)
