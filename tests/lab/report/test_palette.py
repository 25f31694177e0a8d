"""Colours can be read by everybody: contrasts by the formula of WCAG 2.2."""

import itertools

import pytest

from paceline.lab.report.drawing import HUES, PALETTE


def luminance(colour):
    shares = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("role", ["ink", "soft", *HUES])
def test_what_is_written_has_a_contrast_of_at_least_four_and_a_half_to_the_paper(role, mode):
    assert contrast(getattr(PALETTE[role], mode), getattr(PALETTE["paper"], mode)) >= 4.5


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_a_mark_stands_out_from_the_wash_behind_it(mode):
    assert contrast(getattr(PALETTE["blue"], mode), getattr(PALETTE["wash"], mode)) >= 3.0


def test_no_two_roles_share_a_stand_in_and_none_contains_another():
    drawn = [colour.stand_in for colour in PALETTE.values()]
    assert all(one != other for one, other in itertools.combinations(drawn, 2))
