import pytest

from paceline.policies.bandits.values import Values


def test_a_cell_that_was_never_visited_borrows_from_its_column():
    values = Values(2, 2)
    assert (values.of(0, 1), values.best(0)) == (0.0, 0.0)
    values.learn(0, 1, 4.0, 0.1)
    assert (values.of(0, 1), values.of(1, 1), values.of(1, 0)) == (4.0, 4.0, 0.0)
    values.learn(1, 1, -2.0, 0.1)
    assert (values.of(0, 1), values.of(1, 1), values.best(1)) == (4.0, -2.0, 0.0)


def test_first_experiences_are_averaged_and_later_ones_weigh_alike():
    values = Values(1, 1)
    for worth in (1.0, 2.0, 6.0):
        values.learn(0, 0, worth, 0.25)
    assert values.of(0, 0) == pytest.approx(3.0)
    values.learn(0, 0, 7.0, 0.25)
    assert values.of(0, 0) == pytest.approx(4.0)
    values.learn(0, 0, 8.0, 0.25)
    assert values.of(0, 0) == pytest.approx(5.0)


@pytest.mark.parametrize(
    "damage",
    [
        [],
        {},
        {"values": [[0.0, 0.0]]},
        {"values": [[0.0], [0.0]]},
        {"values": [[0.0, float("nan")]] * 2},
        {"values": [[0.0, True]] * 2},
        {"visits": [[0, 1.5]] * 2},
        {"visits": [[0, -1]] * 2},
    ],
)
def test_a_damaged_table_is_refused_and_changes_nothing(damage):
    values = Values(1, 2)
    values.learn(0, 1, 3.0, 0.1)
    before = values.state_dict()
    broken = damage if not damage else before | damage
    with pytest.raises(ValueError, match="the saved state is damaged"):
        values.load_state_dict(broken)
    assert values.state_dict() == before
