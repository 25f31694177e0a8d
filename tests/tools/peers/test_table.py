"""The tables: ratios to generate, each prompt once; texts that are the same; kinds."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peers.measure import Key, Text
from peers.table import mean, tables

BASE, AUTO, PEER, LOOKUP = "transformers", "graph-auto", "openvino", "openvino-lookup"


def texts(*rows, threads=1, temperature=0.0):
    """Return texts of (prompt, mode, precision, seconds, tokens), the kind being the prompt's first letter."""
    return {
        Key(prompt, mode, precision, threads, temperature, 8): Text(
            prompt[0], 9, tokens, seconds, 2 * seconds
        )
        for prompt, mode, precision, seconds, tokens in rows
    }


def rows(text):
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "|" in line
    ]


def test_a_mode_is_compared_a_token_with_generate_and_prompts_count_once():
    one, two = (1, 2, 3, 4), (1, 2)
    table = tables(
        texts(
            ("a1", BASE, "float32", 4.0, one),
            ("b1", BASE, "float32", 20.0, two),
            ("a1", AUTO, "float32", 2.0, one),
            ("b1", AUTO, "float32", 2.5, two),
        ),
        8,
    )
    assert "**2 prompts, at most 8 tokens each, 1 thread, greedy; CPU seconds a token**" in table
    first, second = rows(table)[2:4]
    assert first == ["transformers `generate`", "float32", "1.00", "1.00 to 1.00", "", "0.50"]
    # Twice and eight times as fast.
    assert second[2:] == ["4.00", "2.00 to 8.00", "2/2", "0.50"]
    assert rows(table)[-1][2:] == ["2.00", "8.00"]
    assert rows(table)[4][2:] == ["a", "b"]


def test_texts_are_compared_with_generate_in_float32_and_with_the_engines_own_in_8_bit():
    table = tables(
        texts(
            ("a1", BASE, "float32", 1.0, (1, 2)),
            ("a1", PEER, "float32", 1.0, (1, 3)),
            ("a1", PEER, "int8", 1.0, (5, 6)),
            ("a1", LOOKUP, "int8", 1.0, (5, 6)),
        ),
        8,
    )
    assert [row[4] for row in rows(table)[2:6]] == ["", "0/1", "", "1/1"]


def test_with_several_threads_the_clock_on_the_wall_counts_and_drawn_texts_are_not_compared():
    written = texts(("a1", BASE, "float32", 1.0, (1,)), threads=2, temperature=0.8)
    table = tables(written, 8)
    assert "2 threads, temperature 0.8; wall clock seconds a token" in table
    assert rows(table)[2][4] == ""
    assert tables(written, 9) == ""


def test_a_text_without_tokens_and_a_prompt_that_generate_has_not_written_are_left_out():
    table = tables(
        texts(
            ("a1", BASE, "float32", 1.0, (1,)),
            ("b1", BASE, "float32", 1.0, ()),
            ("a1", AUTO, "float32", 0.5, (1,)),
            ("b1", AUTO, "float32", 9.0, (1,)),
        ),
        8,
    )
    assert rows(table)[3][2:5] == ["2.00", "2.00 to 2.00", "1/1"]


@settings(deadline=None)
@given(ratios=st.lists(st.floats(0.1, 10.0), min_size=1, max_size=12))
def test_the_mean_is_between_the_ratios_and_that_of_the_inverse_is_its_inverse(ratios):
    ratio, inverse = mean(ratios), mean([1 / ratio for ratio in ratios])
    assert min(ratios) * 0.999 <= ratio.value <= max(ratios) * 1.001
    assert ratio.value * inverse.value == pytest.approx(1.0)
    assert (ratio.low is None) == (len(ratios) < 5)
    if ratio.low is not None:
        assert math.isclose(ratio.low * inverse.high, 1.0, rel_tol=1e-6)
