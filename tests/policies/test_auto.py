"""The default policy: what it is put together from, and that it is more than its parts."""

from random import Random

import pytest

from paceline.core.optional_protocols import Mergeable
from paceline.policies.auto import AutoConfig
from paceline.testing import FixedCosts, play


def bits(acceptance_prob, tokens=3000):
    random = Random(str(acceptance_prob))
    return [random.random() < acceptance_prob for _ in range(tokens)]


def test_it_goes_to_the_draft_that_the_text_calls_for():
    match_lengths = [20 if place // 100 % 2 else 1 for place in range(3000)]
    rounds = play(
        AutoConfig().build(),
        {"model": bits(0.7), "lookup": [match_length > 1 for match_length in match_lengths]},
        costs=FixedCosts({"model": 0.6, "lookup": 0.0}, 10.0),
        match_lengths={"lookup": match_lengths},
    )
    later = [done for done in rounds if done.position > 600]
    for match_length, draft in ((20, "lookup"), (1, "model")):
        there = [done for done in later if match_lengths[done.position] == match_length]
        assert sum(done.plan.draft == draft for done in there) > 0.8 * len(there)


@pytest.mark.parametrize(("price", "heard"), [(0.5, False), (3.0, True)])
def test_it_listens_to_a_draft_only_where_stopping_early_can_pay(price, heard):
    rounds = play(AutoConfig().build(), bits(0.7), costs=FixedCosts(price, 10.0))
    assert any(done.signals for done in rounds) is heard


def test_what_it_knows_of_acceptance_can_be_merged():
    policy, other = AutoConfig().build(), AutoConfig().build()
    play(policy, bits(0.7, 300))
    assert isinstance(policy, Mergeable)
    other.absorb(policy.export())
    assert other.export() == policy.export() != {}
