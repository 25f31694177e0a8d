"""A policy that does whatever hypothesis thinks of, and prompts for it; drafts are called as in `NAMES`."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

from hypothesis import strategies as st

from paceline.core.decoder import SpeculativeDecoder
from paceline.core.records import Plan, Requirements, StopRule

from .tiny_models import VOCABULARY

NAMES = ("near", "far", "lookup")


@dataclass
class Adversary:
    """Plays a script drawn by hypothesis: any gamma, any draft, any tree, stop rules, and early stops of its own.

    A turn is gamma, draft, stop rule, the tokens or levels after which it stops, and nodes and width of a tree, if any.
    """

    script: list
    wants_signals: bool = False
    requires: ClassVar[Requirements] = Requirements()
    turn: int = 0
    kept: int = field(default=0)

    @property
    def needs(self):
        return frozenset({"margin"}) if self.wants_signals else frozenset()

    def plan(self, start):
        gamma, draft, stop, self.patience, *tree = self.script[self.turn % len(self.script)]
        nodes, width = tree if tree and tree[0] else (0, 1)
        self.turn += 1
        self.kept = 0
        assert start.drafts.keys() == set(NAMES)
        plan = Plan(gamma, draft, None if draft == "lookup" else stop, nodes=nodes, width=width)
        return start.fit(plan) if nodes else replace(plan, gamma=min(gamma, start.budget))

    def keep_drafting(self, signals):
        self.kept += 1
        return self.kept < self.patience

    def observe(self, done):
        assert 0 <= done.accepted <= done.drafted <= done.plan.gamma
        assert done.drafted <= done.nodes <= max(done.plan.gamma, done.plan.nodes)
        assert done.emitted == len(done.tokens)


chains = st.tuples(
    st.integers(0, 9),
    st.sampled_from(NAMES),
    st.sampled_from(
        [None, StopRule("top1", below=0.3), StopRule("entropy", above=1.0), StopRule("margin", below=2.0)]
    ),
    st.integers(1, 9),
)
trees = st.tuples(st.integers(0, 20), st.integers(1, 4))
turns = st.builds(lambda chain, tree: (*chain, *tree), chains, st.just((0, 1)) | trees)
scripts = st.lists(turns, min_size=1, max_size=8)
prompts = st.lists(st.integers(1, VOCABULARY - 1), min_size=1, max_size=14).map(tuple)

LONGEST = 28


@st.composite
def requests(draw, families, plainly):
    """A family, a prompt, a length limit at any offset, and end tokens that often occur in the text itself."""
    family = draw(st.sampled_from(sorted(families)))
    prompt = draw(prompts)
    limit = draw(st.integers(1, LONGEST))
    whole = plainly(family, prompt, LONGEST, frozenset())
    eos = draw(st.frozensets(st.one_of(st.sampled_from(whole), st.integers(0, VOCABULARY - 1)), max_size=2))
    return family, prompt, limit, eos


def check_tokens(target, drafts, policy, request, plainly):
    """Decode under a policy, and demand what `plainly` writes."""
    family, prompt, limit, eos = request

    found = SpeculativeDecoder(target, drafts, policy, eos=eos).generate(prompt, max_new_tokens=limit)

    assert plainly(family, prompt, limit, eos) == found.tokens
    assert found.ended == ("eos" if found.tokens[-1] in eos else "length")


def check_abandoned(target, drafts, policy, request, plainly, left_after):
    """Leave a request after some rounds, and demand that those that begin before and after it ends are untouched."""
    family, prompt, limit, eos = request
    decoder = SpeculativeDecoder(target, drafts, policy, eos=eos, interleaved=True)
    abandoned = decoder.rounds(prompt, max_new_tokens=limit)
    for _, _done in zip(range(left_after), abandoned, strict=False):
        pass
    meanwhile = decoder.generate(prompt, max_new_tokens=limit).tokens
    abandoned.close()

    assert plainly(family, prompt, limit, eos) == meanwhile
    assert meanwhile == decoder.generate(prompt, max_new_tokens=limit).tokens
