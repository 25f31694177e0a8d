"""One recorded trace, driven through paceline's own loop and through vLLM's steps: the same calls in the same order."""

from dataclasses import fields

import pytest

import paceline
from paceline import (
    FusedCosts,
    Plan,
    Round,
    RoundStart,
    SpeculativeDecoder,
    TokenProposal,
    TokenVerdict,
    TraceWriter,
    read_trace,
)
from paceline_vllm.adapter import capabilities

MOST = 4
START = [one.name for one in fields(RoundStart) if one.name not in {"costs", "tokens"}]
ROUND = [one.name for one in fields(Round) if one.name != "drafts"]
"""`drafts` of a round is the loop's own copy of what stood in its start."""


class Noting:
    """A policy that writes down every call of the one it holds."""

    def __init__(self, inner):
        self.inner, self.calls = inner, []
        self.needs, self.requires = inner.needs, inner.requires

    def plan(self, start):
        plan = self.inner.plan(start)
        self.calls.append(("plan", {name: getattr(start, name) for name in START}, plan.gamma))
        return plan

    def keep_drafting(self, signals):
        return self.inner.keep_drafting(signals)

    def observe(self, done):
        self.inner.observe(done)
        self.calls.append(("observe", {name: getattr(done, name) for name in ROUND}))

    def state_dict(self):
        return self.inner.state_dict()


class Delayed:
    """The policy as an engine has it whose decisions act one round later; the first round nobody planned."""

    def __init__(self, inner):
        self.inner = inner
        self.needs, self.requires = inner.needs, inner.requires
        self.decided = None

    def plan(self, start):
        in_force = self.decided if self.decided is not None else Plan(0, reason="prefill")
        plan = self.inner.plan(start)
        self.decided = (
            plan
            if plan.gamma == 0
            else Plan(plan.gamma, "vllm", reason=plan.reason, use_signals=plan.use_signals)
        )
        return in_force if in_force.gamma <= start.budget else Plan(start.budget)

    def observe(self, done):
        if done.plan.reason != "prefill":
            self.inner.observe(done)


class StepFed:
    """Costs that learn from rounds as vLLM's learn from steps: one time, and what is drafted for the next round."""

    def __init__(self, delayed):
        self.fused, self.delayed = FusedCosts(), delayed

    def observe(self, done):
        if done.index:
            self.fused.observe(
                done.total_s, requests=1, verified=done.drafted + 1, drafted=self.delayed.decided.gamma
            )

    def __getattr__(self, name):
        return getattr(self.fused.of(1), name)


class Told:
    """Target and draft of a text of which it is known where they agree."""

    vocabulary, eos, codec, max_context = 10_000, frozenset(), None, None
    capabilities = capabilities(MOST, 1)
    signals = frozenset()
    lag = 0

    def __init__(self, text, bits):
        self.text, self.bits, self.place = text, bits, 0

    def open(self, prompt):
        return Told(self.text, self.bits)

    def draft(self, gamma, control):
        return TokenProposal((7,) * gamma)

    def verify(self, proposal):
        drafted = 0 if proposal is None else len(proposal)
        accepted = 0
        while accepted < drafted and self.bits[self.place + accepted]:
            accepted += 1
        return TokenVerdict(accepted, tuple(self.text[self.place : self.place + accepted + 1]))

    def advance(self, tokens):
        self.place += len(tokens)

    def close(self):
        pass


class FusedClock:
    """Moves by one time for each round, when it is verified."""

    def __init__(self, seconds):
        self.time, self.seconds = 0.0, iter(seconds)

    def now(self):
        return self.time

    def spend(self, work):
        if hasattr(work, "length"):
            self.time += next(self.seconds)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Record a text with paceline's own engine; return its tokens, where the draft agreed, and times."""
    path = tmp_path_factory.mktemp("trace") / "rounds.jsonl"
    toy = {"backend": "toy", "seed": 3}
    run = {
        "target": toy,
        "drafts": {"small": toy},
        "policy": {"name": "static", "gamma": 3},
        "trace": str(path),
    }
    with paceline.load(run) as decoder:
        decoder.generate("a trace to be driven through", max_new_tokens=150)
    (request,) = read_trace(path).requests
    text = [token for done in request.rounds for token in done.tokens]
    bits = [n < done.accepted for done in request.rounds for n in range(done.emitted)]
    return text, bits, [0.01 + 0.002 * (n * 7 % 5) for n in range(200)]


@pytest.mark.parametrize("name", ["static", "online", "survival", "thompson", "auto", "gammatune"])
def test_both_engines_make_the_same_calls(name, recorded, engine, tmp_path):
    text, bits, seconds = recorded
    prompt = tuple(range(6))
    config = paceline.load_config({"policy": name}).policy

    own = Noting(config.build(0))
    delayed = Delayed(own)
    told = Told(text, bits)
    decoder = SpeculativeDecoder(
        told,
        {"vllm": told},
        delayed,
        clock=FusedClock(seconds),
        costs=StepFed(delayed),
        max_new_tokens=len(text),
    )
    assert list(decoder.generate(prompt).tokens) == text

    inside = Noting(config.build(0))
    steered = engine(inside, most=MOST)
    steered.agrees = lambda request, place: bits[place]
    steered.text = lambda request, place: text[place] if place < len(text) else 0
    steered.seconds = lambda step, output: seconds[step]
    request = steered.add(prompt=prompt, max_tokens=len(text))
    steered.serve()
    assert request.output_token_ids == text

    mine, theirs = within(own.calls, len(text)), within(inside.calls, len(text))
    assert len(mine) > 60
    for one, other in zip(mine, theirs, strict=True):
        assert close(one, other), (one, other)


def within(calls, wanted):
    """Return the calls before the text's last tokens: what was decided a round earlier may by then be past its end.

    vLLM drafts there all the same, and the round is ended; the loop clips it.
    """
    return [call for call in calls if call[1]["position"] + MOST + 2 < wanted]


def close(one, other):
    """Compare two calls; times differ by the rounding of two clocks."""
    if one[0] != other[0] or one[2:] != other[2:]:
        return False
    times = {"draft_s", "verify_s", "total_s"}
    exact = all(value == other[1][name] for name, value in one[1].items() if name not in times)
    return exact and all(abs(one[1][name] - other[1][name]) < 1e-9 for name in times & one[1].keys())


def test_the_trace_of_the_plugin_is_the_trace_of_the_loop(recorded, engine, tmp_path):
    text, bits, seconds = recorded
    prompt = tuple(range(6))
    delayed = Delayed(paceline.load_config({"policy": "online"}).policy.build(0))
    told = Told(text, bits)
    with TraceWriter(tmp_path / "own.jsonl") as writer:
        decoder = SpeculativeDecoder(
            told,
            {"vllm": told},
            delayed,
            clock=FusedClock(seconds),
            costs=StepFed(delayed),
            trace=writer,
            max_new_tokens=len(text),
        )
        decoder.generate(prompt)
    steered = engine("online", most=MOST, trace=str(tmp_path / "vllm.jsonl"))
    steered.agrees = lambda request, place: bits[place]
    steered.text = lambda request, place: text[place] if place < len(text) else 0
    steered.seconds = lambda step, output: seconds[step]
    steered.add(prompt=prompt, max_tokens=len(text))
    steered.serve()
    own, theirs = (read_trace(tmp_path / name).requests[0] for name in ("own.jsonl", "vllm.jsonl"))
    assert theirs.info == {name: own.info[name] for name in theirs.info}
    pairs = [
        (mine, other)
        for mine, other in zip(own.rounds, theirs.rounds, strict=False)
        if mine.position + MOST + 2 < len(text)
    ]
    assert len(pairs) > 30
    for mine, other in pairs:
        assert (mine.index, mine.plan, mine.drafted, mine.accepted, mine.tokens, mine.ended) == (
            other.index,
            other.plan,
            other.drafted,
            other.accepted,
            other.tokens,
            other.ended,
        )
