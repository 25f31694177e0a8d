import pytest

from paceline.core.errors import ConfigError
from paceline.core.records import DraftState, RoundStart
from paceline.core.testing import FixedCosts
from paceline.policies.candidates import at_most, chosen_draft, drafting


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


def test_at_most_rounds_down_and_never_below_the_smallest():
    assert [at_most((2, 4, 8), wanted) for wanted in (1, 2, 3, 7, 8, 99)] == [2, 2, 2, 4, 8, 8]
    assert list(drafting(range(5))) == [1, 2, 3, 4]
    assert list(drafting((3, 5))) == [3, 5]
