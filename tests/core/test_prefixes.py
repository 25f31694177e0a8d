"""The kept cache that a request goes on from, and the one that goes first."""

from hypothesis import given
from hypothesis import strategies as st

from paceline.core.prefixes import KeptPrefixes, agreement


class Book:
    """Caches that are their tokens' names."""

    def __init__(self, most):
        self.freed = []
        self.kept = KeptPrefixes(most, self.freed.append)

    def give(self, *texts):
        for text in texts:
            self.kept.give(text, [*map(ord, text)])

    def take(self, text, go_back=None):
        return self.kept.take([*map(ord, text)], go_back)


def test_the_longest_beginning_is_taken_and_the_oldest_goes_first():
    book = Book(3)
    book.give("abcd", "abce", "xyz", "abcdef")
    assert book.freed == ["abcd"]
    assert book.take("abcdefg") == ("abcdef", 6)
    assert book.take("abce") == ("abce", 3)
    assert book.take("qqq") is None
    assert len(book.kept) == 1


def test_a_cache_that_would_lose_more_than_it_saves_is_left_alone_while_there_is_room():
    book = Book(2)
    book.give("system: one and a long history")
    assert book.take("system: two") is None
    book.give("system: two")
    # Full: what has most in common is worth more than reading anew.
    assert book.take("system: three") == ("system: two", len("system: t"))


def test_a_full_store_lets_the_oldest_go_before_another_cache_is_made():
    book = Book(2)
    book.give("one", "two")
    assert book.take("xyz") is None
    assert book.freed == ["one"]


def test_the_oldest_cache_can_be_let_go_for_the_sake_of_something_else():
    freed = []
    kept = KeptPrefixes(2, freed.append)
    kept.give("old", [1, 2])
    kept.give("new", [3, 4])
    assert [kept.drop() for _ in range(3)] == [True, True, False]
    assert freed == ["old", "new"]


def test_what_cannot_go_back_is_left_to_whoever_wants_all_of_it():
    book = Book(1)
    book.give("abcdef")

    def never(cache, length):
        return False

    assert book.take("abcdefg", never) == ("abcdef", 6)
    book.give("abcdef")
    assert book.take("abcdxx", never) is None


@given(left=st.lists(st.integers(0, 2)), right=st.lists(st.integers(0, 2)))
def test_agreement_is_the_length_of_the_common_beginning(left, right):
    count = agreement(left, right)
    assert left[:count] == right[:count]
    assert left[count : count + 1] != right[count : count + 1] or count == min(len(left), len(right))
