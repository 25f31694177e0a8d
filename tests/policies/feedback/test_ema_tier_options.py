"""What ema-tier refuses: options that leave a batch without tiers, and states that no policy wrote."""

import pytest
from pydantic import ValidationError

from paceline.policies.feedback.ema_tier import EmaTierConfig


@pytest.mark.parametrize(
    ("slots", "message"),
    [
        ([], "at least 1 item"),
        ([{"batch": 2, "tiers": [1]}], r"batches \[2\]; start at 1"),
        ([{"batch": 1, "tiers": [1]}, {"batch": 1, "tiers": [2]}], "let batches ascend"),
        ([{"batch": 1, "tiers": []}], "at least 1 item"),
        ([{"batch": 1, "tiers": [3, 1, 3]}], r"\[3, 1, 3\] do not ascend; write \[1, 3\]"),
        ([{"batch": 1, "tiers": [-1, 3]}], "greater than or equal to 0"),
    ],
)
def test_slots_with_holes_or_disorder_are_refused(slots, message):
    with pytest.raises(ValidationError, match=message):
        EmaTierConfig(slots=slots)


@pytest.mark.parametrize(
    "damage",
    [
        {"slots": [[5, 4.0, 15]]},
        {"slots": [[5, 4.0], [1, 0.0, 15], [1, 0.0, 15], [0, 0.0, 15]]},
        {"slots": [[5, -1.0, 15], [1, 0.0, 15], [1, 0.0, 15], [0, 0.0, 15]]},
        {"slots": [[5.5, 1.0, 15], [1, 0.0, 15], [1, 0.0, 15], [0, 0.0, 15]]},
        {"slots": [[5, 1.0, 1.5], [1, 0.0, 15], [1, 0.0, 15], [0, 0.0, 15]]},
        {"windows": [[1, 2]]},
    ],
)
def test_a_damaged_state_is_refused_and_changes_nothing(damage, done):
    policy = EmaTierConfig().build()
    policy.observe(done(5, 3))
    before = policy.state_dict()
    with pytest.raises(ValueError, match="damaged"):
        policy.load_state_dict(before | damage)
    assert policy.state_dict() == before
