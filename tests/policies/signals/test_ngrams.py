from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.policies.signals.ngrams import Ngrams

TEXT = st.lists(st.integers(0, 3), max_size=60)


def runs(text, n):
    return [tuple(text[i : i + n]) for i in range(len(text) - n + 1)]


@settings(deadline=None)
@given(text=TEXT, cuts=st.lists(st.integers(0, 60), max_size=8), n=st.integers(2, 4))
def test_however_a_text_grows_its_runs_are_known_and_no_others(text, cuts, n):
    known = Ngrams(n, 1000)
    for at in [*sorted(cuts), len(text)]:
        assert known.read(text[:at], new=False) == tuple(text[:at])[1 - n :]
        assert len(known) == len(set(runs(text[:at], n)))
    assert all(run in known for run in runs(text, n))
    assert (4,) * n not in known


@settings(deadline=None)
@given(text=TEXT, step=st.integers(1, 60), most=st.integers(1, 20))
def test_no_more_is_kept_than_allowed_and_the_latest_runs_are(text, step, most):
    known = Ngrams(2, most)
    for at in range(0, len(text) + step, step):
        known.read(text[:at], new=False)
        assert len(known) <= most
    assert all(run in known for run in runs(text, 2)[-most:])


@settings(deadline=None)
@given(first=TEXT, second=TEXT)
def test_a_new_text_replaces_the_old_one(first, second):
    known, fresh = Ngrams(3, 1000), Ngrams(3, 1000)
    known.read(first, new=True)
    known.read(second, new=True)
    fresh.read(second, new=True)
    assert len(known) == len(fresh)


def test_a_text_that_does_not_go_on_where_the_last_one_was_left_is_read_afresh():
    known = Ngrams(2, 100)
    known.read([1, 2, 3, 4], new=True)
    known.read([5, 6, 7, 8, 9], new=False)
    assert (1, 2) not in known
    assert (5, 6) in known


def test_a_run_that_is_seen_again_is_not_the_oldest():
    known = Ngrams(2, 3)
    known.read([1, 2, 3, 1, 2, 9], new=True)  # (1, 2) (2, 3) (3, 1) (1, 2) (2, 9)
    assert (1, 2) in known
    assert (2, 3) not in known
