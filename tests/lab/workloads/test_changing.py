"""The kinds are what they say, and the same for every policy."""

from math import isclose
from statistics import mean

import numpy as np
import pytest

from paceline.core.errors import ConfigError
from paceline.lab.workloads.changing import KINDS, LEVELS, SPELLS, STALL, kind, phases, tokens

each_kind = pytest.mark.parametrize("one", KINDS, ids=lambda one: one.name)


@each_kind
def test_a_text_follows_from_its_seed(one):
    assert one.bits(3) == one.bits(3)
    for first, again in zip(one.prices(3), one.prices(3), strict=True):
        assert np.array_equal(first.draft, again.draft)
        assert np.array_equal(first.verify, again.verify)
        assert np.array_equal(first.token_s, again.token_s)
    assert len(one.bits(3)) == len(one.prices(3)[0].draft) == one.length


@each_kind
def test_chance_goes_both_ways_around_the_level(one):
    ratios = []
    for seed in range(4):
        level, met = one.prices(seed, 2000)
        assert (met.draft != level.draft).all()
        ratios.extend(met.verify / level.verify)
    constant = 1.0 + 0.02 * (STALL - 1.0) if one.name == "stalls" else 1.0
    assert isclose(mean(ratios), constant, rel_tol=0.05)


@pytest.mark.parametrize("one", [one for one in KINDS if one.sort == "spell"], ids=lambda one: one.name)
def test_a_spell_raises_what_it_says_between_two_places(one):
    level, _ = one.prices(0)
    begin, end = one.spell
    where, factor, rounds = one.name.split("-")[1:]
    dearer = np.zeros(one.length, bool)
    dearer[begin:end] = True
    for prices, untouched in ((level.draft, "target"), (level.verify, "draft")):
        raised = 1.0 if where == untouched else float(factor[1:])
        assert set(prices[dearer]) == {raised}
        assert set(prices[~dearer]) == {1.0}
    assert end - begin == tokens(int(rounds))
    assert min(SPELLS)[0] >= 2.0 and max(SPELLS)[0] <= 30.0


def test_phases_begin_as_ever_and_alternate():
    level = phases(10, "all", 2.0, token_s=0.3)(60, None)
    assert level.draft.tolist() == ([1.0] * 23 + [2.0] * 23 + [1.0] * 14)
    assert level.token_s.tolist() == [0.3 * (factor > 1.0) for factor in level.draft]


def test_a_busy_machine_changes_its_level_every_fifteen_rounds_or_so():
    level, _ = kind("busy").prices(1, 20_000)
    assert set(level.verify) == set(LEVELS)
    assert np.array_equal(level.verify, level.draft)
    # One change in five does not show, for two of the levels are alike, and a level may follow itself.
    assert 15 < 20_000 / (np.diff(level.verify) != 0).sum() / 2.3 < 26


def test_a_name_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(ConfigError, match="no made-up kind 'spell'; there are: even, spell-draft-x2-60"):
        kind("spell")
