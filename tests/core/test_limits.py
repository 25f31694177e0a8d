"""Where a text ends."""

from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.core.limits import Limits

tokens_lists = st.lists(st.integers(0, 5), max_size=40)


@settings(deadline=None)
@given(
    tokens=tokens_lists,
    eos=st.frozensets(st.integers(0, 5), max_size=2),
    longest=st.integers(1, 30),
    data=st.data(),
)
def test_cutting_block_by_block_ends_where_cutting_token_by_token_ends(tokens, eos, longest, data):
    limits = Limits(longest, eos, (lambda output: output[-2:] == [4, 4],))
    one_by_one, by_blocks = [], []
    ended_single = ended_block = None
    for token in tokens:
        _, ended_single = limits.cut(one_by_one, [token])
        if ended_single:
            break
    rest = list(tokens)
    while rest and not ended_block:
        size = data.draw(st.integers(1, len(rest)))
        _, ended_block = limits.cut(by_blocks, rest[:size])
        rest = rest[size:]

    assert one_by_one == by_blocks
    assert ended_single == ended_block


def test_the_end_token_is_delivered_and_nothing_after_it():
    output = [7]

    emitted, ended = Limits(9, frozenset({0})).cut(output, [3, 0, 5])

    assert (emitted, ended) == ([3, 0], "eos")
    assert output == [7, 3, 0]


def test_an_end_token_at_the_length_limit_counts_as_eos():
    assert Limits(2, frozenset({0})).cut([3], [0])[1] == "eos"


def test_a_stop_criterion_is_asked_before_the_length_limit():
    assert Limits(1, frozenset(), (lambda output: True,)).cut([], [3])[1] == "stop"
