"""Policies that plan trees: the shape worth most, what is learnt of choices, and when trees are left alone."""

from itertools import product
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.backends.toy import ToyDraft, ToyTarget
from paceline.core.clock import CostTableClock
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.records import Capabilities, Plan, TreeOutcome, finish_round
from paceline.core.testing.doubles import FixedCosts
from paceline.core.trees import leading_firsts
from paceline.policies.auto import AutoConfig
from paceline.policies.static import StaticConfig
from paceline.policies.tree_choice import WIDTH, TreeChoice, likeliest
from paceline.policies.tree_online import TreeOnlineConfig

FLAT = FixedCosts(0.05, lambda length, _: 1.0 + 0.001 * length if length <= 33 else 0.05 * length)
STEEP = FixedCosts(0.05, lambda length, _: float(length))
TREES = Capabilities(nodes=32)


def decode(policy, costs, *, agreement=0.5, tokens=700, nodes=64):
    """Return seconds and rounds of a text in virtual time."""
    target = ToyTarget(seed=3, capabilities=Capabilities(nodes=nodes))
    clock = CostTableClock(costs)
    decoder = SpeculativeDecoder(target, {"toy": ToyDraft(target, agreement)}, policy, clock=clock)
    rounds = [*decoder.rounds([5], max_new_tokens=tokens)]
    return clock.now(), rounds


def a_round(start, ranks, offered, *, ended=None, depth=4, nodes=9):
    plan = Plan(depth, "draft", nodes=nodes, width=WIDTH)
    accepted = len(ranks)
    tree = TreeOutcome(nodes, ranks, offered)
    tokens = (0,) * (accepted + 1)
    return finish_round(start(), plan, depth, accepted, tokens, ended, 1.0, 1.0, 2.0, tree=tree)


def test_a_static_tree_is_the_same_every_round_and_a_chain_where_there_are_none(start):
    policy = StaticConfig(gamma=3, nodes=9, width=2).build()
    assert policy.plan(start(capabilities=TREES)) == Plan(3, "draft", nodes=9, width=2)
    assert policy.plan(start(2, capabilities=TREES)) == Plan(2, "draft", nodes=9, width=2)
    assert policy.plan(start(capabilities=Capabilities(nodes=4))) == Plan(3, "draft", nodes=4, width=2)
    assert policy.plan(start()) == Plan(3, "draft")
    assert policy.plan(start(0, capabilities=TREES)) == Plan(0)
    with pytest.raises(ValueError, match="nodes >= gamma >= 1, found nodes 2 and gamma 3"):
        StaticConfig(gamma=3, nodes=2)


@settings(deadline=None)
@given(st.lists(st.lists(st.floats(0.02, 0.5), min_size=2, max_size=3), min_size=1, max_size=3))
def test_the_likeliest_nodes_are_those_of_all_ways(chances):
    ways, values = [()], {(): 1.0}
    for way in ways:
        if len(way) < len(chances):
            for rank, prob in enumerate(chances[len(way)]):
                values[(*way, rank)] = values[way] * prob
                ways.append((*way, rank))
    for depth, reached in enumerate(likeliest(chances, 99), start=1):
        expected = sorted((values[way] for way in ways[1:] if len(way) <= depth), reverse=True)
        assert reached == pytest.approx([value for value in expected if value >= 0.01])


def test_choices_are_learnt_from_ranks_and_from_refusals_of_all(start):
    random, choice = Random(1), TreeChoice(8, 1.0)
    right = (0.6, 0.5, 0.25)  # of each choice, where those before it were wrong
    for _ in range(3000):
        ranks = []
        while len(ranks) < 4:
            rank = next((rank for rank, prob in enumerate(right) if random.random() < prob), None)
            if rank is None:
                break
            ranks.append(rank)
        offered = (3,) * len(ranks) + (3 if len(ranks) < 4 else 0,)
        choice.observe(a_round(start, tuple(ranks), offered))
    learnt = list(choice.chances([0.6] * 4))
    for ranks in learnt:
        assert ranks[:3] == pytest.approx([0.6, 0.4 * 0.5, 0.2 * 0.25], abs=0.03)


def test_an_ended_round_refuses_nothing(start):
    choice = TreeChoice(8, 1.0)
    choice.observe(a_round(start, (0,), (4, 4), ended="eos"))
    assert sum(sum(known.refused) for known in choice.choices) == 0.0
    choice.observe(a_round(start, (0,), (4, 4)))
    assert [sum(known.refused) for known in choice.choices] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("ranks", "offered", "firsts"),
    [((), (2,), (0, True)), ((0, 0), (2, 2, 0), (2, False)), ((0, 1, 0), (2, 2, 2, 2), (1, True))],
)
def test_a_tree_tells_what_a_chain_would_have_come_to(start, ranks, offered, firsts):
    assert leading_firsts(a_round(start, ranks, offered)) == firsts


def test_auto_plans_trees_where_a_pass_is_flat_and_gains_by_them():
    trees, rounds = decode(AutoConfig().build(), FLAT)
    chains, _ = decode(AutoConfig(max_nodes=0).build(), FLAT)
    assert chains > 1.25 * trees
    assert sum(done.tree is not None for done in rounds) > 0.8 * len(rounds)


def test_auto_leaves_trees_alone_where_they_do_not_pay_and_loses_nothing():
    trees, rounds = decode(AutoConfig().build(), STEEP)
    chains, _ = decode(AutoConfig(max_nodes=0).build(), STEEP)
    assert trees < 1.01 * chains
    assert sum(done.tree is not None for done in rounds) < 0.02 * len(rounds)


@pytest.mark.parametrize("max_nodes", [0, 32])
def test_without_trees_nothing_is_different(max_nodes):
    seconds, rounds = decode(AutoConfig(max_nodes=max_nodes).build(), FLAT, nodes=0)
    before, chains = decode(AutoConfig(max_nodes=0).build(), FLAT, nodes=64)
    assert seconds == before
    assert [done.plan for done in rounds] == [done.plan for done in chains]


def test_a_draft_that_does_not_branch_is_asked_for_a_tree_once():
    target = ToyTarget(seed=3)

    class Chains(ToyDraft):
        def open(self, prompt):
            session = super().open(prompt)

            class Session:
                lag = property(lambda _: session.lag)
                draft, advance, close = session.draft, session.advance, session.close

            return Session()

    clock = CostTableClock(FLAT)
    rounds = [
        *SpeculativeDecoder(target, {"toy": Chains(target, 0.5)}, AutoConfig().build(), clock=clock).rounds(
            [5], max_new_tokens=400
        )
    ]
    assert sum(bool(done.plan.nodes) for done in rounds) == 1


def test_tree_online_deepens_with_accuracy_and_is_online_without_trees(start):
    depths = []
    for agreement in (0.3, 0.9):
        _, rounds = decode(TreeOnlineConfig(nodes=16).build(), FixedCosts(0.1, 1.0), agreement=agreement)
        depths.append(sum(done.plan.gamma for done in rounds) / len(rounds))
        assert {done.plan.nodes for done in rounds[:-3]} == {16}
    assert depths[0] < depths[1]
    policy = TreeOnlineConfig(first_gamma=3).build()
    assert policy.plan(start()) == Plan(3, "draft", reason="warm-up")


@pytest.mark.parametrize(("nodes", "width"), [*product((1, 5, 32), (1, 4))])
def test_tree_online_plans_what_the_engine_can_verify(start, nodes, width):
    policy = TreeOnlineConfig(nodes=nodes, width=width).build()
    shown = start(9, capabilities=Capabilities(nodes=8))
    plan = policy.plan(shown)
    assert shown.fit(plan) == plan
