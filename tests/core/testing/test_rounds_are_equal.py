"""The rounds that the testing kit makes up are those of the real loop, field by field."""

from dataclasses import fields, replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.core.clock import CostTableClock
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.proposals import TokenProposal, TokenVerdict
from paceline.core.records import SIGNALS, Capabilities, DraftState, Plan, name_draft
from paceline.core.testing.playing import RIGHT, WRONG
from paceline.testing import ChaoticPolicy, FixedCosts, ScriptedPolicy, play

PROMPT = 8
COSTS = FixedCosts(
    {"a": 1.0, "b": 0.5}, lambda length, context: 9.0 + length + 0.01 * context, catch_up_s=0.25
)


class Zeros:
    """A target that writes zeros, and its session."""

    vocabulary, eos, codec, max_context = 2, frozenset(), None, None
    capabilities = Capabilities()

    def open(self, prompt):
        return self

    def verify(self, proposal):
        guess = () if proposal is None else tuple(proposal.tokens)
        accepted = next((place for place, token in enumerate(guess) if token), len(guess))
        return TokenVerdict(accepted, (0,) * (accepted + 1))

    def advance(self, tokens):
        pass

    def close(self):
        pass


class Bits:
    """A draft with a cache that proposes a zero where its bit says so, and what kind of session it is."""

    signals = SIGNALS

    def __init__(self, bits, match_lengths):
        self.bits, self.match_lengths = bits, match_lengths

    def open(self, prompt):
        return (
            Session(self, len(prompt)) if self.match_lengths is None else MatchingSession(self, len(prompt))
        )


class Session:
    def __init__(self, draft, prompt):
        self._draft, self._position, self.lag, self._tried = draft, 0, prompt - 1, None

    def draft(self, gamma, control):
        bits = self._draft.bits[self._position : self._position + gamma]
        signals = []
        for place, bit in enumerate(bits):
            if control is None:
                break
            about = replace(RIGHT if bit else WRONG, position=place)
            about = replace(about, **dict.fromkeys(SIGNALS - control.signals))
            signals.append(about)
            if (control.stop is not None and control.stop.stops(about)) or (
                control.keep_drafting and not control.keep_drafting(about)
            ):
                break
        bits = bits[: len(signals)] if control is not None else bits
        self._tried = bits
        return TokenProposal(tuple(int(not bit) for bit in bits), tuple(signals))

    def score(self, tokens):
        self.lag = -len(tokens)
        return [float(bit) for bit in self._draft.bits[self._position : self._position + len(tokens)]]

    def advance(self, tokens):
        if self._tried:
            self.lag = int(len(tokens) > len(self._tried))
        else:
            self.lag += len(tokens)
        self._position, self._tried = self._position + len(tokens), None

    def close(self):
        pass


class MatchingSession(Session):
    @property
    def match_length(self):
        return self._draft.match_lengths[self._position]


class Whimsical(ChaoticPolicy):
    """Sometimes does not look, and sometimes leaves the draft's name out; writes down what it was shown."""

    def __init__(self, seed, needs):
        super().__init__(seed, ("a", "b"), signals=needs)
        self.shown = []

    def plan(self, start):
        about = replace(start, costs=None, tokens=None, drafts=dict(start.drafts))
        self.shown.append((about, tuple(start.tokens)))
        plan = super().plan(start)
        return replace(
            plan,
            draft=self._random.choice([None, plan.draft]),
            use_signals=self._random.random() < 0.7,
            reason="x",
        )


@settings(deadline=None, max_examples=200)
@given(seed=st.integers(0, 10**6), length=st.integers(1, 40), needs=st.sets(st.sampled_from(sorted(SIGNALS))))
def test_kit_and_loop_show_a_policy_the_same_starts_and_rounds(seed, length, needs):
    random = Random(seed)
    bits = {name: [random.random() < 0.7 for _ in range(length + 8)] for name in ("a", "b")}
    match_lengths = {"b": [random.randrange(9) for _ in range(length + 8)]}
    real, made_up = (Whimsical(seed, frozenset(needs)) for _ in range(2))
    drafts = {name: Bits(known, match_lengths.get(name)) for name, known in bits.items()}
    decoder = SpeculativeDecoder(Zeros(), drafts, real, clock=CostTableClock(COSTS), max_new_tokens=length)
    expected = list(decoder.rounds([0] * PROMPT))
    texts = {name: known[:length] for name, known in bits.items()}
    got = play(made_up, texts, costs=COSTS, prompt=PROMPT, match_lengths=match_lengths)
    assert made_up.shown == real.shown
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        for field in fields(one):
            ours, theirs = getattr(one, field.name), getattr(other, field.name)
            if field.name.endswith("_s"):  # a clock's differences, and the numbers they are made of
                assert abs(ours - theirs) < 1e-9 * max(1.0, abs(theirs)), field.name
            else:
                assert ours == theirs, field.name


def test_rounds_of_the_kit_tell_the_lags_and_match_lengths_of_every_draft():
    first, second = play(
        ScriptedPolicy([2]),
        {"a": [True] * 6, "b": [True] * 6},
        prompt=4,
        match_lengths={"b": [5, 0, 0, 7, 0, 0]},
    )
    assert first.drafts == {"a": DraftState(3), "b": DraftState(3, 5)}
    assert second.drafts == {"a": DraftState(1), "b": DraftState(6, 7)}


def test_a_plan_gets_its_drafts_name_when_it_drafts_and_none_when_it_does_not():
    assert name_draft(Plan(2), ["a", "b"]).draft == "a"
    assert name_draft(Plan(2, "b"), ["a", "b"]).draft == "b"
    assert name_draft(Plan(0, "b"), ["a", "b"]).draft is None
    assert name_draft(Plan(2), []).draft is None
