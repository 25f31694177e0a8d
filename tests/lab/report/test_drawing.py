"""Drawings: the same bytes, and one file for light and dark."""

import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest

from paceline.lab.report.drawing import PALETTE, inline, shortened, spread, standalone
from paceline.lab.report.plots import pictures


@pytest.fixture(scope="module")
def drawn(found):
    return pictures(found)


def test_a_picture_in_a_page_takes_all_its_colours_from_the_page(drawn):
    for one in drawn.values():
        svg = inline(one)
        assert "var(--ink)" in svg
        assert not any(colour.stand_in in svg for colour in PALETTE.values())
        assert "#000000" not in svg


def test_a_picture_alone_is_well_formed_and_knows_both_sets_of_colours(drawn):
    for one in drawn.values():
        svg = standalone(one)
        ET.fromstring(svg)
        assert "prefers-color-scheme: dark" in svg
        assert PALETTE["paper"].light in svg
        assert PALETTE["paper"].dark in svg
        assert "<desc>" in svg


def test_pictures_carry_no_date_and_repeat_themselves(found, drawn):
    again = pictures(found)

    assert {name: one.svg for name, one in again.items()} == {name: one.svg for name, one in drawn.items()}
    assert not any("<dc:date>" in one.svg for one in drawn.values())


def test_labels_are_moved_apart_in_their_order_and_around_where_they_were_wanted():
    assert spread([0.0, 5.0, 10.0], 1.0) == [0.0, 5.0, 10.0]
    assert spread([3.0, 3.0], 1.0) == pytest.approx([2.5, 3.5])
    moved = spread([1.0, 1.1, 1.2, 9.0], 1.0)
    assert all(after - before >= 1.0 - 1e-9 for before, after in pairwise(moved))
    assert sum(moved[:3]) == pytest.approx(3.3)


def test_long_names_are_cut_short_with_a_sign_of_it():
    assert shortened("online") == "online"
    assert shortened("x" * 30) == "x" * 23 + "…"
