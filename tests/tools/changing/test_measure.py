"""Measurements where costs change: the harness, and the limits that `auto` keeps to."""

from dataclasses import replace
from itertools import pairwise
from math import inf

import numpy as np
import pytest

from changing.__main__ import main
from changing.measure import AFTER, BACK, WINDOW, Numbers, measure, until_back
from changing.table import tables
from marked import write_marked
from paceline.core.costs import LiveCosts
from paceline.core.records import Plan
from paceline.core.testing.doubles import ScriptedPolicy
from paceline.lab.replay.static_gamma import best, token_seconds
from paceline.lab.workloads.changing import KINDS, kind
from paceline.lab.workloads.synthetic import made_up
from paceline.policies.auto import AutoConfig
from paceline.policies.static import StaticConfig

SPELL = replace(kind("spell-draft-x10-16"), length=1000)


class Deaf(ScriptedPolicy):
    """Drafts four tokens a round, but none between two places."""

    def __init__(self, begin, end):
        super().__init__([4])
        self._begin, self._end = begin, end

    def plan(self, start):
        plan = super().plan(start)
        return Plan(0) if self._begin <= start.position < self._end else plan


class Watching(LiveCosts):
    """Keeps what it is shown."""

    def __init__(self):
        super().__init__()
        self.rounds = []

    def observe(self, done):
        self.rounds.append(done)
        super().observe(done)


def static(gamma):
    return StaticConfig(gamma=gamma).build


def test_the_best_static_gamma_has_all_of_its_own_speed_and_others_have_less():
    one = replace(kind("all-x2-60"), length=400, noise=lambda length, _: ([1.0] * length, [1.0] * length))
    recording = made_up(one, texts=1)
    (text,) = recording
    totals = {choice: seconds.sum() for choice, seconds in token_seconds(recording.header, text).items()}
    chosen = best([totals])
    numbers = measure(
        kind_with_noise := replace(one, noise=kind("even").noise), static(chosen.gamma), seeds=[0]
    )
    assert numbers.of_seeds["of best static"] == [pytest.approx(1.0)]
    assert all(measure(kind_with_noise, static(gamma), seeds=[0]).figure < 0.9 for gamma in (0, 10))


def test_the_cost_model_learns_from_the_noisy_timings_that_the_policy_meets():
    shown = []

    def factory():
        shown.append(Watching())
        return shown[-1]

    one = replace(kind("even"), length=300)
    measure(one, static(3), factory, seeds=[0, 1])
    assert len(shown) == 2
    full = [done for costs in shown for done in costs.rounds if done.drafted == 3 and done.lag <= 1]
    assert len({done.verify_s for done in full}) == len(full)
    assert np.mean([done.verify_s for done in full]) == pytest.approx(1.0 + 3 * 0.012, rel=0.02)
    assert np.std([done.verify_s for done in full]) == pytest.approx(0.03, rel=0.3)
    _, met = one.prices(1)
    for done in shown[1].rounds:
        assert done.verify_s == pytest.approx(
            (1.0 + 0.012 * done.drafted) * met.verify[done.position], rel=1e-6
        )


def test_a_spell_is_felt_in_it_and_over_where_the_next_round_begins():
    numbers = measure(SPELL, static(4), seeds=[0, 1])
    assert all(one < 1.0 for one in numbers.of_seeds["in it"])
    assert all(one > 2.0 for one in [*numbers.of_seeds["before"], *numbers.of_seeds["next 300"]])
    assert numbers.figure < WINDOW
    assert numbers.holds


@pytest.mark.parametrize("rest", [150, 290])
def test_who_comes_back_late_is_back_when_it_drafts_again(rest):
    end = SPELL.spell[1]
    numbers = measure(SPELL, lambda seed: Deaf(end - 10, end + rest), seeds=[0, 1])
    assert all(rest - 15 <= one <= rest + WINDOW for one in numbers.of_seeds["until back"])


def test_who_stays_away_is_never_back():
    numbers = measure(SPELL, lambda seed: Deaf(SPELL.spell[0], inf), seeds=[0])
    assert numbers.figure == inf
    assert not numbers.holds


def test_back_means_for_good():
    right = np.full(500, 0.5)
    assert until_back(right, right) == 0
    assert until_back(right / BACK * 0.999, right) == 0
    assert until_back(right / BACK * 1.001, right) == inf
    late = np.concatenate([np.full(50, 5.0), np.full(450, 0.5)])
    assert until_back(late, right) == 50
    relapse = np.concatenate([np.full(200, 0.5), np.full(100, 5.0), np.full(200, 0.5)])
    assert until_back(relapse, right) == 300


def test_a_draft_that_is_never_right_leaves_plain_decoding_as_it_is():
    one = replace(kind("useless"), length=400)
    assert measure(one, static(0), seeds=[0]).of_seeds["of plain from 300"] == [pytest.approx(1.0)]
    assert measure(one, static(1), seeds=[0]).figure < 0.8


def test_cold_requests_are_held_against_what_went_on_learning():
    numbers = measure(kind("cold-32"), static(4), seeds=[0])
    assert numbers.of_seeds == {"cold": [pytest.approx(1.0)], "kept": [pytest.approx(1.0)]}
    kept = []
    measure(kind("cold-32"), static(4), seeds=[0], keep=lambda *four: kept.append(four))
    policies = {id(policy) for four in kept for policy in (four[0], four[2])}
    assert len(policies) == len(kept) + 1


def test_tables_show_what_misses_its_limit_in_bold():
    spell, share = SPELL, kind("even")
    columns = ("before", "in it", "next 300")

    def numbers(back, of_best):
        speeds = {column: [2.0, 2.2] for column in columns}
        return [
            Numbers(spell, {**speeds, "until back": back}),
            Numbers(share, {"of best static": of_best, "of plain": [2.0, 2.0]}),
        ]

    rows = {
        "good": numbers([AFTER, 12.0], [0.97, 1.0]),
        "slow": numbers([AFTER + 1, 12.0], [0.9, 1.0]),
        "lost": numbers([12.0, inf], [0.5, 0.5]),
        "gone": numbers([inf, inf], [0.5, 0.5]),
    }
    made = tables(rows).split("\n")
    assert made[2] == f"| {spell.name} | 2.10 | 2.10 | 2.10 | 300 | **301** | **never 1 of 2** | **never** |"
    assert made[-1] == "| even | of best static | 0.98 | 0.985 | **0.950** | **0.500** | **0.500** |"
    assert all(one.count("|") == two.count("|") for one, two in pairwise(made[:3]))


@pytest.mark.slow
@pytest.mark.parametrize("one", KINDS, ids=lambda one: one.name)
def test_auto_keeps_to_the_limits(one):
    numbers = measure(one, AutoConfig().build)
    assert numbers.holds, numbers.of_seeds


def test_the_command_prints_writes_into_a_page_and_fails_where_a_limit_is_missed(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- changing -->\nold\n<!-- /changing -->\nafter\n")
    assert main(["static-0", "--kind", "cold-32", "--kind", "useless", "--page", str(page)]) == 0
    made = capsys.readouterr().out
    assert made.startswith("| kind |")
    assert "| useless | of plain, from 300 | 0.99 | 1.000 |" in made
    assert "| cold-32 | of steady, kept (cold) | 0.95 | 1.000 (1.000) |" in made
    assert page.read_text() == f"before\n<!-- changing -->\n{made}<!-- /changing -->\nafter\n"
    assert main(["static-2", "--kind", "useless"]) == 1
    assert "static-2 misses the limit of: useless" in capsys.readouterr().err
    page.write_text("no marks")
    with pytest.raises(ValueError, match="there must be <!-- changing -->"):
        write_marked(page, "changing", made)
