import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.policies.windows import Windows

PROPOSALS = st.lists(
    st.integers(1, 8).flatmap(lambda d: st.tuples(st.integers(0, d), st.just(d))), max_size=30
)


def counted(proposals, size=20):
    windows = Windows(size)
    for accepted, drafted in proposals:
        windows.count(accepted, drafted)
    return windows


@settings(deadline=None)
@given(proposals=PROPOSALS, size=st.integers(1, 10))
def test_each_share_is_that_of_the_last_proposals_that_reached_the_position(proposals, size):
    seen = max((drafted for _, drafted in proposals), default=0)
    tokens = counted(proposals, size).expected_tokens(seen)
    for position in range(seen):
        reached = [accepted > position for accepted, drafted in proposals if drafted > position][-size:]
        assert tokens[position + 1] - tokens[position] == pytest.approx(sum(reached) / len(reached))


def test_positions_not_seen_follow_the_geometric_series_of_those_seen():
    """Shares 0.8 and 0.4 fall by half from each position to the next."""
    windows = counted([(2, 2), (2, 2), (1, 2), (1, 2), (0, 2)])
    assert windows.expected_tokens(4) == pytest.approx([1.0, 1.8, 2.2, 2.4, 2.5])


def test_from_one_position_seen_acceptance_falls_as_it_fell_to_there_and_none_stands_for_nothing():
    assert counted([(1, 1), (0, 1)]).expected_tokens(3) == pytest.approx([1.0, 1.5, 1.75, 1.875])
    assert counted([]).expected_tokens(2) == [1.0, 1.0, 1.0]
    assert not counted([])


def test_what_was_never_accepted_is_not_expected():
    assert counted([(0, 2)]).expected_tokens(4) == [1.0] * 5


@settings(deadline=None)
@given(proposals=PROPOSALS, most=st.integers(0, 12))
def test_a_longer_round_never_yields_fewer_tokens_nor_more_than_it_drafts(proposals, most):
    tokens = counted(proposals).expected_tokens(most)
    assert len(tokens) == most + 1
    assert tokens == sorted(tokens)
    assert all(1.0 <= n <= gamma + 1 + 1e-9 for gamma, n in enumerate(tokens))


@settings(deadline=None)
@given(proposals=PROPOSALS, position=st.integers(0, 9))
def test_forgetting_leaves_the_positions_before_alone(proposals, position):
    windows, whole = counted(proposals), counted(proposals)
    windows.forget_from(position)
    assert windows.expected_tokens(position) == pytest.approx(whole.expected_tokens(position))
    assert windows.state() == whole.state()[:position]


@settings(deadline=None)
@given(proposals=PROPOSALS, size=st.integers(1, 30))
def test_a_saved_state_reads_back_and_is_cut_to_the_size_of_the_reader(proposals, size):
    saved = counted(proposals).state()
    assert Windows.read(saved, 20).state() == saved
    assert Windows.read(saved, size).state() == [window[-size:] for window in saved]


@pytest.mark.parametrize("saved", ["all", [1], [[]], [[2]], [[0.5]], [[True]], [[1, -1]], None])
def test_a_damaged_state_is_refused(saved):
    with pytest.raises(ValueError, match="damaged"):
        Windows.read(saved, 20)
