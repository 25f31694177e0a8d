"""JSON from files: what would only fail later is refused where it is read."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.core.json_text import LARGEST_FLOAT, LARGEST_INT, parse_json

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-LARGEST_INT, LARGEST_INT)
    | st.floats(-LARGEST_FLOAT, LARGEST_FLOAT)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab\u20ac"), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(value=values, ascii_only=st.booleans())
def test_what_is_within_the_bounds_reads_back(value, ascii_only):
    assert parse_json(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@settings(deadline=None)
@given(
    number=st.integers(min_value=LARGEST_INT + 1)
    | st.floats(LARGEST_FLOAT, exclude_min=True, allow_nan=False),
    negative=st.booleans(),
    around=st.sampled_from(["%s", "[1, %s]", '{"a": %s}', '{"a":%s}', "[[%s]]"]),
)
def test_a_number_beyond_the_bounds_is_refused_wherever_it_stands(number, negative, around):
    text = around % json.dumps(-number if negative else number)
    with pytest.raises(ValueError, match=r"out of bounds|is no number"):
        parse_json(text.encode())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "it is not JSON"),
        (b"{", "it is not JSON"),
        (b"\xff", "it is not UTF-8"),
        (b"NaN", "NaN is no number"),
        (b"[-Infinity]", "-Infinity is no number"),
        (b"1e999", "out of bounds"),
        (b"[" + b"9" * 5000 + b"]", "out of bounds"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (rb'["\ud800"]', "half of a surrogate pair"),
        (rb'{"\uDfff": 1}', "half of a surrogate pair"),
    ],
)
def test_what_is_no_json_of_ours_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_json(text)


def test_a_whole_surrogate_pair_is_a_character():
    assert parse_json(rb'"\ud83d\ude00"') == "\U0001f600"
