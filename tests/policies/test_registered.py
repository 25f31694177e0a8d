import pytest
from pydantic import ValidationError

from paceline import policies
from paceline.core.testing.policies import check_policy
from paceline.policies.online import OnlineConfig
from paceline.policies.static import StaticConfig
from paceline.policies.thompson import ThompsonConfig

BUILT_IN = {config.model_fields["name"].default: config for config in policies.register_policies()}


def test_every_name_is_given_once():
    assert len(BUILT_IN) == len(list(policies.register_policies()))


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_policy_keeps_the_contract_with_one_draft_and_with_two(name):
    check_policy(BUILT_IN[name], examples=20)
    check_policy(BUILT_IN[name], drafts=("small", "lookup"), examples=20)


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
