"""The twelve cells are what they say."""

import pytest

from paceline.lab.synthetic import CELLS, Cell


def test_there_are_twelve_of_them_with_names_of_their_own():
    assert len({cell.name for cell in CELLS}) == 12


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_a_text_follows_from_its_seed_and_accepts_as_often_as_it_says(cell):
    assert cell.text(200, 1) == cell.text(200, 1) != cell.text(200, 2)
    share = sum(map(sum, (cell.text(600, seed) for seed in range(60)))) / 36_000
    expected = {"steady-0.8": 0.8, "steady-0.5": 0.5, "regimes": 0.6, "drift": 0.55}[cell.acceptance]
    assert share == pytest.approx(expected, abs=0.04)


def test_regimes_last():
    text = Cell(0.1, "regimes").text(20_000, 0)
    windows = [sum(text[i : i + 20]) / 20 for i in range(0, 20_000, 20)]
    assert sum(one > 0.75 for one in windows) > 0.3 * len(windows)
    assert sum(one < 0.5 for one in windows) > 0.3 * len(windows)
