"""Records of rounds cannot be changed, and are made, copied and kept like any dataclass."""

import copy
import pickle
from dataclasses import FrozenInstanceError, replace

import pytest

from paceline.core.records import Plan, Round, RoundStart


def test_records_of_rounds_are_dataclasses_that_cannot_be_changed():
    done = Round(0, 0, 5, Plan(2, "small"), 1, 2, 1, 2, None, 0.5, 1.0, 1.5, (3, 4))
    for twin in (copy.copy(done), copy.deepcopy(done), pickle.loads(pickle.dumps(done)), replace(done)):
        assert twin == done
        assert repr(twin) == repr(done)
    assert hash(Plan(2)) == hash(Plan(gamma=2))
    with pytest.raises(FrozenInstanceError):
        done.lag = 0


def test_what_is_left_out_has_a_default_of_its_own():
    one, other = (Round(0, 0, 5, Plan(0), 0, 0, 0, 1, None, 0.0, 1.0, 1.0, (3,)) for _ in range(2))
    assert one.scores == {}
    assert one.scores is not other.scores
    assert RoundStart(0, 0, 5, 3, {}, None).capabilities.gammas is None
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'gamma'"):
        Plan()
