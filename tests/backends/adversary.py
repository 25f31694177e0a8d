"""A policy that does whatever hypothesis thinks of, and prompts for it; drafts are called as in `NAMES`."""

from dataclasses import dataclass, field
from typing import ClassVar

from hypothesis import strategies as st

from paceline.backends.hf.testing import VOCABULARY
from paceline.core.records import Plan, Requirements, StopRule

NAMES = ("near", "far", "lookup")


@dataclass
class Adversary:
    """Plays a script drawn by hypothesis: any gamma, any draft, stop rules, and early stops of its own."""

    script: list
    wants_signals: bool = False
    requires: ClassVar[Requirements] = Requirements()
    turn: int = 0
    kept: int = field(default=0)

    @property
    def needs(self):
        return frozenset({"margin"}) if self.wants_signals else frozenset()

    def plan(self, start):
        gamma, draft, stop, self.patience = self.script[self.turn % len(self.script)]
        self.turn += 1
        self.kept = 0
        assert start.lags.keys() == set(NAMES)
        return Plan(min(gamma, start.budget), draft, None if draft == "lookup" else stop)

    def keep(self, signals):
        self.kept += 1
        return self.kept < self.patience

    def observe(self, done):
        assert 0 <= done.accepted <= done.drafted <= done.plan.gamma
        assert done.emitted == len(done.tokens)


turns = st.tuples(
    st.integers(0, 9),
    st.sampled_from(NAMES),
    st.sampled_from(
        [None, StopRule("top1", below=0.3), StopRule("entropy", above=1.0), StopRule("margin", below=2.0)]
    ),
    st.integers(1, 9),
)
scripts = st.lists(turns, min_size=1, max_size=8)
prompts = st.lists(st.integers(1, VOCABULARY - 1), min_size=1, max_size=14).map(tuple)
