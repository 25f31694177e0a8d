import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.policies.hazards import Hazards, export_hazards, read_export


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=30))
def test_a_position_is_counted_only_when_it_was_reached(proposals):
    hazards = Hazards(8)
    for accepted, refused in proposals:
        hazards.count(accepted, refused=refused)
    for k in range(8):
        assert hazards.accepted[k] == sum(accepted > k for accepted, _ in proposals)
        assert hazards.refused[k] == sum(refused and accepted == k for accepted, refused in proposals)


def test_positions_without_evidence_follow_the_mean_of_the_draft():
    hazards = Hazards(3)
    for _ in range(7):
        hazards.count(1, refused=True)
    a, b = list(hazards.posterior((2.0, 1.0), 4.0))[2]
    mean = (7 + 2) / (14 + 3)
    assert a == pytest.approx(4 * mean)
    assert a + b == pytest.approx(4)


def test_evidence_fades_by_the_discount():
    hazards = Hazards(2)
    hazards.count(1, refused=True)
    hazards.age(0.5)
    hazards.age(0.5)
    assert (hazards.accepted, hazards.refused) == ([0.25, 0.0], [0.0, 0.25])


def test_a_draft_may_have_any_name():
    hazards = Hazards(2)
    hazards.count(1, refused=True)
    exported = export_hazards({"org/model/v1": hazards})
    assert read_export(exported) == [("org/model/v1", 0, False, 1.0), ("org/model/v1", 1, True, 1.0)]
