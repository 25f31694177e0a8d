"""Losses of policies against the best static gamma in hindsight, on the twelve made-up cells.

The texts are cut at 600 tokens and every policy starts cold on each: knowing nothing is part of the price. Signals tell
nothing here, so that what is found is what history alone allows.
"""

from statistics import mean

import pytest

from paceline.lab.workloads.synthetic import CELLS, Cell
from paceline.policies.auto import AutoConfig
from paceline.policies.gate import GateConfig
from paceline.policies.online import OnlineConfig
from paceline.policies.static import StaticConfig
from paceline.policies.survival import SurvivalConfig
from paceline.testing import FixedCosts, play
from policy_table import share_of_best


@pytest.mark.parametrize("config", [SurvivalConfig(), AutoConfig()], ids=lambda config: config.name)
def test_the_flagships_lose_little_in_the_worst_cell_and_win_on_average(config):
    shares = {cell.name: share_of_best(config.build, cell) for cell in CELLS}
    assert min(shares.values()) >= 0.98, shares
    assert mean(shares.values()) >= 1.01, shares


def test_no_static_gamma_does_as_well_over_all_cells():
    """The yardstick itself: each static gamma fails somewhere."""
    worst = {
        gamma: min(share_of_best(StaticConfig(gamma=gamma).build, cell) for cell in CELLS)
        for gamma in (1, 2, 4, 8)
    }
    assert max(worst.values()) < 0.9, worst


def test_the_paper_s_estimate_is_close_behind():
    shares = [share_of_best(OnlineConfig().build, cell) for cell in CELLS]
    assert min(shares) > 0.96
    assert mean(shares) > 1.0


def loses(config, price):
    """Return what is lost against plain decoding on 4000 tokens of which none is ever accepted."""
    cell = Cell(price, "steady-0.5")
    rounds = play(config.build(), [False] * 4000, costs=FixedCosts(price, cell.verify_s))
    return 1.0 - 4000 / sum(done.total_s for done in rounds)


def test_a_gate_loses_at_most_two_percent_where_nothing_is_accepted():
    assert loses(GateConfig(policy=StaticConfig(gamma=4)), 0.1) < 0.02
    assert loses(StaticConfig(gamma=4), 0.1) > 0.25


@pytest.mark.parametrize("price", [0.04, 0.1, 0.3])
def test_the_default_loses_at_most_five_percent_where_nothing_is_accepted(price):
    assert loses(AutoConfig(), price) < 0.05


def test_the_default_drafts_again_within_256_tokens_after_acceptance_returns():
    cell = Cell(0.1, "steady-0.5")
    bits = [False] * 2000 + [True] * 1000
    rounds = play(AutoConfig().build(), bits, costs=FixedCosts(cell.price, cell.verify_s))
    back = next(done.position for done in rounds if done.position >= 2000 and done.accepted >= 4)
    assert back < 2256
