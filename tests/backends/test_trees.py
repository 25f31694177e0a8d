"""Sessions of models draft trees by the best path first, verify them as the target alone writes, and keep the path."""

import functools
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paceline.backends.graph import GraphDraft, GraphTarget
from paceline.backends.prompt_lookup import PromptLookup
from paceline.backends.torch import draft as drafting
from paceline.backends.torch import target as verifying
from paceline.backends.torch.sampling import Sampler
from paceline.backends.torch.target import rejection_sample_tree
from paceline.backends.transformers import HfDraft, HfTarget
from paceline.core import rejection_sampling
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.errors import BackendError
from paceline.core.proposals import DraftControl
from paceline.core.records import Plan
from paceline.core.sampling import Sampling
from paceline.core.testing.backends import check_backend
from paceline.core.testing.doubles import ScriptedPolicy
from paceline.core.testing.enumeration import outcomes
from paceline.core.trees import ROOT, TokenTree, children, depths, tokens_to, tree_flaw

from .exact import apart, every_outcome, texts
from .graph import pairs as graph
from .test_tree_engines import BRANCHING
from .tiny_models import VOCABULARY, noisy_copy, tiny_model
from .transformers import pairs as hf

torch.set_num_threads(1)

PAIRS = [(graph, "llama"), (graph, "qwen3"), *((hf, family) for family in sorted(BRANCHING))]
slow = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
families = pytest.mark.parametrize(
    ("pairs", "family"), PAIRS, ids=lambda each: getattr(each, "__name__", each)
)


@st.composite
def trees(draw, tokens):
    """A tree whose siblings are different."""
    chosen, parents = [], []
    for _ in range(draw(st.integers(1, 10))):
        token, parent = draw(tokens), draw(st.integers(ROOT, len(chosen) - 1))
        if (token, parent) not in zip(chosen, parents, strict=True):
            chosen.append(token)
            parents.append(parent)
    return TokenTree(tuple(chosen), tuple(parents))


@families
@settings(slow, max_examples=15)
@given(data=st.data(), prompt=st.lists(st.integers(1, VOCABULARY - 1), min_size=1, max_size=9))
def test_whatever_the_tree_the_target_goes_the_way_that_it_goes_alone(pairs, family, data, prompt):
    target, drafts = pairs.pair(family)
    session, text = target.open(prompt), list(prompt)
    for _ in range(3):
        ahead = pairs.plainly(family, tuple(text), 6)
        tree = data.draw(trees(st.sampled_from(ahead) | st.integers(-1, VOCABULARY)))
        # Some of the way that the target goes, below any node that is on it.
        right = data.draw(st.integers(0, 4))
        way, tokens, parents = ROOT, [*tree.tokens], [*tree.parents]
        for token in ahead[:right]:
            under = [node for node, parent in enumerate(parents) if parent == way and tokens[node] == token]
            if not under:
                tokens, parents, under = [*tokens, token], [*parents, way], [len(tokens)]
            way = under[0]
        verdict = session.verify_tree(TokenTree(tuple(tokens), tuple(parents)))
        assert right <= verdict.accepted == len(verdict.path)
        assert verdict.tokens == pairs.plainly(family, tuple(text), verdict.accepted + 1)
        emitted = verdict.tokens[: data.draw(st.integers(1, len(verdict.tokens)))]
        session.advance(emitted)
        text += emitted
        assert session.sequence.tracker.lag == 0
        fresh = target.open(text)
        torch.testing.assert_close(session.logits(), fresh.logits(), rtol=0, atol=1e-10)
        fresh.close()
    session.close()


@families
@settings(slow, max_examples=15)
@given(data=st.data(), prompt=st.lists(st.integers(1, VOCABULARY - 1), min_size=1, max_size=9))
def test_a_draft_grows_lawful_trees_and_is_where_a_fresh_one_is_after_any_round(pairs, family, data, prompt):
    draft = pairs.pair(family)[1]["near"]
    drawing = data.draw(st.booleans())
    settings_of_draws = Sampling(temperature=data.draw(st.sampled_from([0.5, 3.0])), seed=4)
    session = draft.open_sampled(prompt, settings_of_draws) if drawing else draft.open(prompt)
    text = list(prompt)
    for _ in range(3):
        gamma, width = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 4))
        nodes = data.draw(st.integers(gamma, 14))
        tree = session.draft_tree(gamma, nodes, width, None)
        assert 1 <= len(tree) <= nodes
        assert max(depths(tree.parents)) <= gamma
        assert tree_flaw(tree.tokens, tree.parents, width) is None
        if drawing:
            for token, row in zip(tree.tokens, tree.draft_probs, strict=True):
                assert row[token] > 0
                assert float(row.sum()) == pytest.approx(1)
        leaf = data.draw(st.integers(ROOT, len(tree) - 1))
        emitted = [*tokens_to(tree, leaf), data.draw(st.integers(0, VOCABULARY - 1))]
        session.advance(emitted)
        text += emitted
        assert session.lag <= len(emitted) - 1
        fresh = draft.open(text)
        torch.testing.assert_close(session.logits(), fresh.logits(), rtol=0, atol=1e-10)
        fresh.close()
    session.close()


@pytest.mark.parametrize("pairs", [graph, hf])
def test_a_tree_of_width_one_is_the_chain(pairs):
    draft = pairs.pair("llama")[1]["near"]
    chain, tree = draft.open([3, 1, 4]).draft(5, None), draft.open([3, 1, 4]).draft_tree(5, 5, 1, None)
    assert tree.tokens == chain.tokens
    assert tree.parents == (-1, 0, 1, 2, 3)


@settings(slow, max_examples=40)
@given(st.lists(st.integers(1, VOCABULARY - 1), min_size=1, max_size=6), st.integers(1, 8), st.integers(1, 3))
def test_a_tree_of_two_levels_has_the_likeliest_ways_of_all(prompt, nodes, width):
    draft = graph.pair("llama")[1]["far"]
    tree = draft.open(prompt).draft_tree(2, max(2, nodes), width, None)

    def followers(text):
        session = draft.open(text)
        probs = torch.softmax(session.logits().float(), dim=-1).topk(width)
        session.close()
        return list(zip(probs.indices.tolist(), probs.values.tolist(), strict=True))

    ways = {}
    for token, prob in followers(prompt):
        ways[token,] = prob
        ways |= {(token, other): prob * chance for other, chance in followers([*prompt, token])}
    best = sorted(ways, key=ways.get, reverse=True)[: max(2, nodes)]
    assert {tokens_to(tree, node) for node in range(len(tree))} == set(best)


def test_a_control_sees_the_first_token_of_each_level_and_ends_the_tree():
    seen = []

    def keep_drafting(signals):
        seen.append(signals)
        return len(seen) < 3

    control = DraftControl(frozenset({"token", "prob"}), keep_drafting=keep_drafting)
    tree = graph.pair("llama")[1]["near"].open([3, 1, 4]).draft_tree(5, 9, 2, control)
    assert max(depths(tree.parents)) == 3
    assert [each.position for each in tree.signals] == [0, 1, 2]
    assert tree.signals[0].token == tree.tokens[children(tree.parents)[0][0]]


@pytest.mark.parametrize("pairs", [graph, hf])
def test_a_target_and_a_draft_that_branch_pass_the_kit(pairs):
    target, drafts = pairs.pair("llama")
    assert target.capabilities.nodes > 0
    check_backend(
        lambda: target,
        lambda _: drafts["near"],
        logits=lambda session: session.logits().tolist(),
        max_examples=8,
        shrink=False,
    )


def test_where_a_model_reads_no_trees_chains_stand_for_them():
    target, drafts = hf.pair("mistral")
    assert target.capabilities.nodes == 0
    with pytest.raises(BackendError, match="reads no trees; plan chains"):
        target.open([1, 2]).verify_tree(TokenTree((3, 4), (-1, -1)))
    for session in (
        drafts["near"].open([3, 1]),
        drafts["near"].open_sampled([3, 1], Sampling(temperature=1.0)),
    ):
        tree = session.draft_tree(3, 9, 2, None)
        assert tree.parents == (-1, 0, 1)
        assert tree.draft_probs is None or len(tree.draft_probs) == 3
    policy = ScriptedPolicy([Plan(4, nodes=9, width=3)])
    decoder = SpeculativeDecoder(target, {"draft": drafts["near"]}, policy, eos=frozenset())
    assert decoder.generate([3, 1, 4], max_new_tokens=20).tokens == hf.plainly("mistral", (3, 1, 4), 20)
    assert {done.tree for done in policy.rounds} == {None}


@pytest.mark.parametrize("pairs", [graph, hf])
def test_a_pass_that_fails_leaves_a_session_as_it_was(pairs, monkeypatch):
    target, drafts = pairs.pair("llama")
    for session, ask in (
        (target.open([1, 2, 3]), lambda session: session.verify_tree(TokenTree((4, 5), (-1, -1)))),
        (drafts["near"].open([1, 2, 3]), lambda session: session.draft_tree(3, 6, 2, None)),
    ):
        wanted = session.logits()

        def fail(*_):
            raise RuntimeError("out of luck")

        monkeypatch.setattr(type(session.sequence.engine), "feed_tree", fail)
        with pytest.raises(RuntimeError, match="out of luck"):
            ask(session)
        monkeypatch.undo()
        assert torch.equal(session.logits(), wanted)
        ask(session)
        session.close()


SIZE = 4
PROMPT = [3, 1, 2]
DRAWN = Sampling(temperature=3.0)
CUT = Sampling(temperature=3.0, top_k=2)
PENALISED = Sampling(temperature=3.0, top_k=3, repetition_penalty=1.6)


@functools.cache
def small(engine):
    model = tiny_model("llama", vocab_size=SIZE, dtype=torch.float64)
    target, draft = {"graph": (GraphTarget, GraphDraft), "hf": (HfTarget, HfDraft)}[engine]
    # With this seed two tokens are likelier under the target, so that second children are judged by chance as well.
    return target(model), draft(noisy_copy(model, noise=0.15, seed=3))


class GreedyOnly:
    """The draft without its ability to draw: its trees are certain."""

    signals = frozenset()

    def __init__(self, draft):
        self.open = draft.open


def next_probs(target, text, drawn):
    session = target.open([*PROMPT, *text])
    sampler = Sampler(drawn, [*PROMPT, *text], torch.device("cpu"))
    logits = session.logits()[None]
    session.close()
    return sampler.probs(sampler.process(logits, (), SIZE))[0].tolist()


def written(engine, plan, drawn, draft, monkeypatch):
    target, drawing = small(engine)
    drafts = {"drawing": drawing, "certain": GreedyOnly(drawing), "lookup": PromptLookup(max_ngram=1)}

    def run():
        policy = ScriptedPolicy([plan])
        decoder = SpeculativeDecoder(
            target, {"draft": drafts[draft]}, policy, sampling=drawn, eos=frozenset()
        )
        return decoder.generate(PROMPT, max_new_tokens=plan.gamma + 1).tokens

    return every_outcome(run, monkeypatch)


@pytest.mark.parametrize("draft", ["drawing", "certain", "lookup"])
@pytest.mark.parametrize(
    ("engine", "plan", "drawn"),
    [
        ("graph", Plan(1, nodes=3, width=3), DRAWN),
        ("graph", Plan(2, nodes=3, width=2), CUT),
        ("graph", Plan(2, nodes=4, width=2), PENALISED),
        ("hf", Plan(2, nodes=3, width=2), PENALISED),
    ],
    ids=["one level", "two levels", "penalised", "hf"],
)
def test_texts_are_distributed_as_those_of_the_target_alone(engine, plan, drawn, draft, monkeypatch):
    found = written(engine, plan, drawn, draft, monkeypatch)
    target, _ = small(engine)
    assert apart(found, texts(plan.gamma + 1, lambda text: next_probs(target, text, drawn))) < 1e-9


@pytest.mark.parametrize("broken", ["a refused token takes nothing away", "drawn tokens are dropped"])
def test_a_broken_rule_is_found_out(broken, monkeypatch):
    if broken == "a refused token takes nothing away":
        monkeypatch.setattr(verifying, "_residual", lambda target_probs, *_: target_probs)
    else:
        finish = drafting._Candidates.finish

        def dropping(self, count, signals):
            # The less likely of two children is left out, whatever the draws say.
            tree = finish(self, count, signals)
            first, second = tree.tokens[:2]
            if float(tree.draft_probs[0][second]) > float(tree.draft_probs[0][first]):
                return tree
            kept = [node for node in range(len(tree)) if node != 1 and tree.parents[node] != 1]
            number = {node: place for place, node in enumerate([ROOT, *kept], ROOT)}
            return replace(
                tree,
                tokens=tuple(tree.tokens[node] for node in kept),
                parents=tuple(number[tree.parents[node]] for node in kept),
                draft_probs=tuple(tree.draft_probs[node] for node in kept),
            )

        monkeypatch.setattr(drafting._Candidates, "finish", dropping)
    found = written("graph", Plan(1, nodes=2, width=2), DRAWN, "drawing", monkeypatch)
    target, _ = small("graph")
    assert apart(found, texts(2, lambda text: next_probs(target, text, DRAWN))) > 1e-4


weights = st.lists(st.integers(0, 3), min_size=SIZE, max_size=SIZE).filter(any)
rows = weights.map(lambda numbers: [number / sum(numbers) for number in numbers])


@settings(deadline=None, max_examples=60)
@given(data=st.data(), tree=trees(st.integers(0, SIZE - 1)), known=st.booleans())
def test_the_rule_on_tensors_is_the_one_in_plain_python(data, tree, known):
    target_probs = data.draw(st.lists(rows, min_size=len(tree) + 1, max_size=len(tree) + 1))
    if known:
        made = [data.draw(rows.filter(lambda row, token=token: row[token])) for token in tree.tokens]
        tree = replace(tree, draft_probs=tuple(made))

    def plainly(rng):
        return rejection_sampling.rejection_sample_tree(tree, lambda node: target_probs[node + 1], rng).tokens

    def on_tensors():
        sampler = Sampler(DRAWN, (), torch.device("cpu"))
        after = torch.tensor(target_probs, dtype=torch.float64)
        return rejection_sample_tree(tree, lambda node: after[node + 1], sampler).tokens

    with pytest.MonkeyPatch.context() as patch:
        assert apart(every_outcome(on_tensors, patch), outcomes(plainly)) < 1e-12
