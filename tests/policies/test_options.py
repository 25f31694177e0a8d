"""The draft that an option names."""

import pytest

from paceline.core.errors import ConfigError
from paceline.core.records import DraftState, RoundStart
from paceline.policies.options import chosen_draft
from paceline.testing import FixedCosts


def start(budget, lags):
    return RoundStart(0, 0, 9, budget, dict.fromkeys(lags, DraftState(0)), FixedCosts())


def test_without_a_draft_none_is_chosen():
    assert chosen_draft(start(20, lags=()), None) is None


def test_an_unknown_draft_is_refused_by_name():
    with pytest.raises(ConfigError, match="'smal', but the drafts are: small, lookup"):
        chosen_draft(start(20, lags=("small", "lookup")), "smal")


def test_the_first_draft_is_the_default():
    assert chosen_draft(start(20, lags=("small", "lookup")), None) == "small"
    assert chosen_draft(start(20, lags=("small", "lookup")), "lookup") == "lookup"
