"""Trees of draft tokens: shape, growth, verdicts, guards, and what a round says of them."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.backends.prompt_lookup import PromptLookup
from paceline.backends.suffix.draft import SuffixDraft
from paceline.backends.toy import ToyDraft, ToyTarget
from paceline.backends.toy_sessions import ToyDraftSession, ToyTargetSession
from paceline.core import rejection_sampling
from paceline.core.clock import CostTableClock, RecordedClock
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.errors import ContractError
from paceline.core.guards.plan import flaw
from paceline.core.records import SIGNALS, Capabilities, Plan, RoundStart, StopRule
from paceline.core.rejection_sampling import SeededRng, rejection_sample_tree
from paceline.core.round_json import round_from_json, round_to_json
from paceline.core.testing.doubles import ChaoticPolicy, FixedCosts, ScriptedPolicy
from paceline.core.testing.enumeration import outcomes
from paceline.core.trees import (
    ROOT,
    Drawn,
    Listed,
    TokenTree,
    children,
    depths,
    grow_tree,
    outcome,
    tokens_to,
    tree_flaw,
    verify_tree_greedy,
)

TARGET = ToyTarget(seed=3)
TREE = Plan(3, nodes=6, width=2)


@st.composite
def shapes(draw, most=12):
    """Parents of a tree, each before its children."""
    return [draw(st.integers(ROOT, node - 1)) for node in range(draw(st.integers(1, most)))]


@st.composite
def trees(draw, vocabulary=5):
    """A tree whose siblings are different."""
    tokens, parents = [], []
    for parent in draw(shapes()):
        siblings = {tokens[node] for node, other in enumerate(parents) if other == parent}
        free = sorted(set(range(vocabulary)) - siblings)
        if parent < len(tokens) and free:
            tokens.append(draw(st.sampled_from(free)))
            parents.append(parent)
    return TokenTree(tuple(tokens), tuple(parents))


def alone(target, limit, prompt=(5,)):
    text = list(prompt)
    while len(text) < limit + len(prompt) and not (target.eos & {*text[len(prompt) :]}):
        text.append(target.next(text))
    return tuple(text[len(prompt) :])


@settings(deadline=None)
@given(trees(), st.lists(st.integers(0, 4), min_size=13, max_size=13))
def test_the_greedy_path_is_the_one_the_target_would_have_written(tree, choices):
    verdict = verify_tree_greedy(tree, lambda node: choices[node + 1])
    at, written = ROOT, []
    while True:  # one token after the other, as without a draft
        written.append(choices[at + 1])
        following = [node for node in children(tree.parents)[at + 1] if tree.tokens[node] == written[-1]]
        if not following:
            break
        (at,) = following
    assert (verdict.accepted, list(verdict.tokens)) == (len(written) - 1, written)
    assert tokens_to(tree, verdict.path[-1] if verdict.path else ROOT) == verdict.tokens[:-1]
    came = outcome(tree.parents, verdict.path)
    assert (came.nodes, len(came.ranks), len(came.offered)) == (len(tree), verdict.accepted, len(written))
    assert all(rank < count for rank, count in zip(came.ranks, came.offered, strict=False))


@settings(deadline=None)
@given(
    st.dictionaries(
        st.lists(st.integers(0, 2), max_size=3).map(tuple),
        st.lists(st.sampled_from([0.05, 0.1, 0.2, 0.3]), min_size=1, max_size=3),
    ),
    st.integers(1, 4),
    st.integers(1, 9),
    st.integers(1, 3),
)
def test_what_grows_is_the_likeliest_tree_of_its_size(chances, gamma, nodes, width):
    def candidates(way):
        return [(token, prob) for token, prob in enumerate(sorted(chances.get(way, [0.2]), reverse=True))]

    tree = grow_tree(lambda way: Listed(candidates(way)), gamma, nodes, width)
    assert tree_flaw(tree.tokens, tree.parents, width) is None
    assert max(depths(tree.parents)) <= gamma
    everything, reached = [()], {(): 1.0}
    for way in everything:
        if len(way) < gamma:
            for token, prob in candidates(way)[:width]:
                reached[(*way, token)] = reached[way] * prob
                everything.append((*way, token))
    best = sorted((reached[way] for way in everything[1:]), reverse=True)[:nodes]
    grown = sorted((reached[tokens_to(tree, node)] for node in range(len(tree))), reverse=True)
    assert grown == pytest.approx(best)


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), min_size=4, max_size=4).filter(any), st.integers(0, 99), st.integers(1, 4))
def test_a_drawn_tree_holds_every_token_that_was_drawn_and_none_twice(weights, seed, width):
    drawn = []

    class Counting(SeededRng):
        def draw(self, shares):
            drawn.append(super().draw(shares))
            return drawn[-1]

    probs = [weight / sum(weights) for weight in weights]
    rng = Counting(seed)
    tree = grow_tree(lambda way: Drawn(probs, rng), 3, 7, width)
    assert list(tree.tokens) == drawn
    assert tree_flaw(tree.tokens, tree.parents, width) is None
    for token, drawn_from in zip(tree.tokens, tree.draft_probs, strict=True):
        assert drawn_from[token] > 0.0
        assert sum(drawn_from) == pytest.approx(1.0)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**16),
    st.integers(1, 30),
    st.sampled_from([0.0, 0.15]),
    st.sampled_from([0.3, 0.7, 1.0]),
    st.booleans(),
)
def test_whatever_trees_are_planned_the_text_is_the_targets_own(seed, limit, eos_share, agreement, watching):
    target = ToyTarget(seed=seed % 7, eos_share=eos_share)
    drafts = {"toy": ToyDraft(target, agreement), "lookup": PromptLookup(), "suffix": SuffixDraft()}
    policy = ChaoticPolicy(seed, tuple(drafts), signals=frozenset({"token"}) if watching else frozenset())
    done = [*SpeculativeDecoder(target, drafts, policy).rounds([5], max_new_tokens=limit)]
    assert tuple(token for one in done for token in one.tokens) == alone(target, limit)
    for one in done:
        if one.tree is not None:
            assert one.plan.gamma >= one.drafted >= one.accepted == len(one.ranks)
            assert one.plan.nodes >= one.nodes >= one.drafted
            assert max(one.offered) <= one.plan.width


def test_a_token_may_be_accepted_that_was_not_the_first_choice():
    target, policy = ToyTarget(seed=3, vocabulary=4), ScriptedPolicy([Plan(2, nodes=20, width=4)])
    SpeculativeDecoder(target, {"toy": ToyDraft(target, agreement=0.5)}, policy).generate(
        [1], max_new_tokens=40
    )
    assert {rank for one in policy.rounds for rank in one.ranks} == {0, 1, 3}
    assert {one.accepted for one in policy.rounds[:-1]} == {2}  # every token is in the tree


def test_ends_within_a_path_are_cut_there_and_the_lag_is_known():
    target = ToyTarget(seed=2, eos_share=0.3)
    text = alone(target, 40)
    policy = ScriptedPolicy([Plan(5, nodes=20, width=3)])
    done = SpeculativeDecoder(target, {"toy": ToyDraft(target, 1.0)}, policy).generate([5], max_new_tokens=40)
    assert done.tokens == text
    assert done.ended == "eos"
    last = policy.rounds[-1]
    assert last.emitted <= last.accepted + 1
    lags = [start.drafts["toy"].lag for start in policy.starts[1:]]
    assert lags == [int(one.accepted == one.drafted) for one in policy.rounds[:-1]]


PAIR = {"drawn": "drawing", "certain": "greedy"}


@pytest.mark.parametrize("kind", PAIR)
@pytest.mark.parametrize(
    "plans",
    [
        [Plan(1, nodes=2, width=2)],
        [Plan(2, nodes=3, width=2)],
        [Plan(1, nodes=3, width=3), Plan(2, nodes=2, width=2), 1, 0],
    ],
    ids=str,
)
def test_texts_from_trees_are_distributed_as_the_targets(tiny_pair, apart, kind, plans):
    plans = [replace(plan, draft=PAIR[kind]) if isinstance(plan, Plan) else plan for plan in plans]
    found = tiny_pair.scripted(plans, 3)
    assert apart(found, tiny_pair.alone(3)) < 1e-12


BROKEN = {
    "p is not lessened": lambda p, q, token: list(p),
    "as if certain": lambda p, q, token: [0.0 if other == token else prob for other, prob in enumerate(p)],
}


@pytest.mark.parametrize("rule", BROKEN)
def test_a_broken_rule_is_seen(tiny_pair, apart, monkeypatch, rule):
    monkeypatch.setattr(rejection_sampling, "normalised_residual", BROKEN[rule])
    found = tiny_pair.scripted([Plan(1, "drawing", nodes=2, width=2)], 2)
    assert apart(found, tiny_pair.alone(2)) > 1e-3


class Choosy(Drawn):
    """Draws again where it does not like what it drew, and says nothing of it."""

    def take(self):
        token, prob, drawn_from = super().take()
        return super().take() if token == 1 and self.worth else (token, prob, drawn_from)


def test_a_token_that_was_drawn_and_left_out_is_seen(tiny_pair, apart, monkeypatch):
    monkeypatch.setattr("paceline.backends.toy_sessions.Drawn", Choosy)
    found = tiny_pair.scripted([Plan(1, "drawing", nodes=1)], 2)
    assert apart(found, tiny_pair.alone(2)) > 1e-3


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.sampled_from([0, 1, 2, 5]), min_size=3, max_size=3).filter(any),
    st.lists(st.sampled_from([0, 1, 2, 5]), min_size=3, max_size=3).filter(any),
    st.integers(1, 3),
)
def test_siblings_without_replacement_leave_the_targets_distribution(target_weights, draft_weights, width):
    p = [weight / sum(target_weights) for weight in target_weights]
    q = [weight / sum(draft_weights) for weight in draft_weights]

    def first(rng):
        tree = grow_tree(lambda way: Drawn(q, rng), 1, width, width)
        return rejection_sample_tree(tree, lambda node: p, rng).tokens[0]

    found = outcomes(first)
    assert all(abs(found.get(token, 0.0) - share) < 1e-12 for token, share in enumerate(p))


BAD_TREES = {
    "as many parents": TokenTree((1, 2), (ROOT,)),
    "the parent of node 0 is a node before it": TokenTree((1, 2), (1, ROOT)),
    "the parent of node 1 is a node before it, or -1; found 'x'": TokenTree((1, 2), (ROOT, "x")),
    "at most 2 tokens after the same one": TokenTree((1, 2, 3), (ROOT,) * 3),
    "not all different": TokenTree((1, 1), (ROOT, ROOT)),
    "depth 3 and proposed one of 4": TokenTree((1,) * 4, (ROOT, 0, 1, 2)),
    "asked for 6 tokens and proposed 7": TokenTree((1, 2, 1, 2, 1, 2, 1), (ROOT, ROOT, 0, 0, 1, 1, 2)),
    "no token of the target's 28": TokenTree((1, 99), (ROOT, 0)),
    "Python's own type int": TokenTree((1.0,), (ROOT,)),
    "an object with `tokens`, found None": None,
    "2 drawn tokens need as many distributions, found 1": TokenTree((1, 2), (ROOT, 0), (), ((0.0, 1.0),)),
    "token 2 at 1 cannot have been drawn": TokenTree((1, 2), (ROOT, 0), (), ((0.0, 1.0),) * 2),
    "token 1 at 0 cannot have been drawn": TokenTree((1,), (ROOT,), (), ((1.0, float("nan")),)),
    "a tree with its `parents`": type("Chain", (), {"tokens": (1,), "signals": (), "__len__": lambda _: 1})(),
}


class Misshapen(ToyDraft):
    tree = None

    def open(self, prompt):
        session = ToyDraftSession(self, list(prompt))
        session.draft_tree = lambda *_: self.tree
        return session


@pytest.mark.parametrize("message", BAD_TREES)
def test_a_tree_that_is_none_is_the_drafts_fault(message):
    draft = Misshapen(TARGET)
    object.__setattr__(draft, "tree", BAD_TREES[message])
    with pytest.raises(ContractError, match=message) as caught:
        SpeculativeDecoder(TARGET, {"toy": draft}, ScriptedPolicy([TREE])).generate([5], max_new_tokens=9)
    assert "draft 'toy'" in str(caught.value)
    decoder = SpeculativeDecoder(TARGET, {"toy": draft}, ScriptedPolicy([TREE]), on_policy_error="fallback")
    assert decoder.generate([5], max_new_tokens=9).tokens == alone(TARGET, 9)


BAD_PATHS = {
    "by a path of 0 nodes": lambda verdict: replace(verdict, path=()),
    "does not follow": lambda verdict: replace(verdict, path=(*verdict.path[:-1], verdict.path[0])),
    "does not follow ": lambda verdict: replace(verdict, path=(-1, *verdict.path[1:])),
    "and .* was given": lambda verdict: replace(verdict, tokens=(verdict.tokens[0] + 1, *verdict.tokens[1:])),
    "a verdict with its `path`": lambda verdict: type("V", (), {"accepted": 1, "tokens": (1, 2)})(),
}


@pytest.mark.parametrize("message", BAD_PATHS)
def test_a_path_that_is_not_in_the_tree_is_the_targets_fault(message):
    class Lost(ToyTarget):
        def open(self, prompt):
            class Session(ToyTargetSession):
                def verify_tree(self, proposal):
                    return BAD_PATHS[message](super().verify_tree(proposal))

            return Session(self, list(prompt))

    target = Lost(seed=3)
    with pytest.raises(ContractError, match=message.strip()) as caught:
        SpeculativeDecoder(target, {"toy": ToyDraft(target, 1.0)}, ScriptedPolicy([TREE])).generate(
            [5], max_new_tokens=9
        )
    assert "Lost" in str(caught.value)


def test_a_target_that_says_it_verifies_trees_and_cannot_is_named():
    class Boastful(ToyTarget):
        def open(self, prompt):
            session = ToyTargetSession(self, list(prompt))
            return type("Chains", (), {m: getattr(session, m) for m in ("verify", "advance", "close")})()

    target = Boastful(seed=3)
    with pytest.raises(ContractError, match=r"that it verifies trees, but it has no verify_tree\(\)"):
        SpeculativeDecoder(target, {"toy": ToyDraft(target)}, ScriptedPolicy([TREE])).generate([5])


def test_a_draft_without_trees_drafts_the_chain():
    class Chains:
        signals = frozenset()

        def open(self, prompt):
            session = ToyDraftSession(ToyDraft(TARGET), list(prompt))
            names = ("draft", "advance", "close")
            return type("Session", (), {m: getattr(session, m) for m in names} | {"lag": 0})()

    policy = ScriptedPolicy([TREE])
    SpeculativeDecoder(TARGET, {"chains": Chains()}, policy).generate([5], max_new_tokens=20)
    assert {(one.tree, one.nodes) for one in policy.rounds[:-2]} == {(None, 3)}


def test_time_is_that_of_a_block_of_its_nodes_and_a_draft_of_its_depth():
    costs = FixedCosts(1.0, lambda length, _: 100.0 * length)
    policy = ScriptedPolicy([TREE])
    clock = CostTableClock(costs)
    SpeculativeDecoder(TARGET, {"toy": ToyDraft(TARGET)}, policy, clock=clock).generate(
        [5], max_new_tokens=20
    )
    for one in policy.rounds:
        assert (one.draft_s, one.verify_s) == (one.drafted, 100.0 * (one.nodes + 1))


def test_a_recorded_run_of_trees_repeats_its_times():
    def run(clock):
        policy = ScriptedPolicy([TREE, 2, 0, Plan(2, nodes=9, width=4)])
        SpeculativeDecoder(TARGET, {"toy": ToyDraft(TARGET)}, policy, clock=clock).generate(
            [5], max_new_tokens=30
        )
        return policy.rounds

    first = run(CostTableClock(FixedCosts(1.0, lambda length, context: length + 0.01 * context)))
    again = run(RecordedClock(first))
    assert [(one.plan, one.tokens, one.tree) for one in again] == [
        (one.plan, one.tokens, one.tree) for one in first
    ]
    assert [one.verify_s for one in again] == pytest.approx([one.verify_s for one in first])


def test_a_round_of_a_tree_is_written_and_read_and_an_older_one_still_is():
    policy = ScriptedPolicy([TREE, 2])
    SpeculativeDecoder(TARGET, {"toy": ToyDraft(TARGET)}, policy).generate([5], max_new_tokens=20)
    tree, chain = policy.rounds[:2]
    for one in (tree, chain):
        assert round_from_json(json.loads(json.dumps(round_to_json(one)))) == one
    assert tree.tree is not None
    written = round_to_json(chain)
    assert "tree" not in written
    assert not {"nodes", "width"} & written["plan"].keys()


@pytest.mark.parametrize("draft", [PromptLookup(), SuffixDraft()], ids=lambda d: type(d).__name__)
def test_several_continuations_of_a_match_are_a_tree(draft):
    session = draft.open([1, 2, 3, 4, 9, 2, 3, 5, 9, 1, 2, 3])
    tree = session.draft_tree(2, 4, 2, None)
    chain = session.draft(2, None)
    assert tokens_to(tree, 0) == chain.tokens[:1]
    assert {tree.tokens[node] for node in children(tree.parents)[0]} == {4, 5}
    assert session.draft(2, None).tokens == chain.tokens  # nothing was left behind
    assert len(draft.open([1, 2, 3]).draft_tree(2, 4, 2, None)) == 0


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(1, 4))
def test_the_first_way_of_a_suffix_tree_begins_as_its_chain(prompt, gamma):
    session = SuffixDraft().open(prompt)
    chain = session.draft(gamma, None).tokens
    tree = session.draft_tree(gamma, 12, 3, None)
    assert tree.tokens[:1] == chain[:1]
    assert session.draft(gamma, None).tokens == chain


def start(budget=9, **able):
    return RoundStart(0, 0, 5, budget, {"draft": None}, FixedCosts(), Capabilities(**able))


@settings(deadline=None)
@given(
    st.integers(1, 9),
    st.integers(0, 9),
    st.integers(1, 3),
    st.integers(0, 9),
    st.integers(0, 20),
    st.sampled_from([None, (2, 4)]),
)
def test_what_fits_is_lawful_and_what_was_lawful_is_left(gamma, more, width, budget, nodes, gammas):
    plan = Plan(gamma, nodes=gamma + more, width=width)
    shown = start(budget, nodes=nodes, gammas=gammas)
    drafts = {"draft": ToyDraft(TARGET)}
    fitted = shown.fit(plan)
    assert flaw(fitted, shown, drafts) is None
    if flaw(plan, shown, drafts) is None:
        assert fitted == plan


def test_signals_of_a_tree_are_those_of_the_first_token_of_each_level_and_may_stop_it():
    tree = Plan(4, nodes=12, width=2, stop=StopRule("top1", below=0.7))
    policy = ScriptedPolicy([tree])
    policy.needs = SIGNALS
    SpeculativeDecoder(TARGET, {"toy": ToyDraft(TARGET, 0.7)}, policy).generate([5], max_new_tokens=60)
    stopped = [one for one in policy.rounds if one.drafted < one.plan.gamma]
    assert stopped
    for one in policy.rounds:
        assert [about.position for about in one.signals] == list(range(one.drafted))
        assert all(about.top1 >= 0.7 for about in one.signals[:-1])
