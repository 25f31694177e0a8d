"""Every member of policies, drafts, targets, tokenizers, traces and what is kept, made to fail in every way.

Under `on_policy_error: fallback` the text is the target's own, whatever fails but the target. Without, an error of
paceline's says who it was. Every session that was opened is closed on every path.
"""
# ruff: noqa: PT017 - some faults are tolerated and some raise; both are looked at

from dataclasses import replace
from functools import partial

import pytest
from structlog.testing import capture_logs

from paceline.backends.toy import ToyDraft, ToyTarget
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.errors import PacelineError, TargetError
from paceline.core.proposals import TokenProposal
from paceline.core.records import SIGNALS, DraftState, Plan, Requirements, StopRule, TokenSignals
from paceline.core.state.checkpoint import StateCheckpoint
from paceline.core.state.key import StateKey
from paceline.core.state.store import StateStore
from paceline.core.trace import TraceWriter, read_trace

TARGET = ToyTarget(seed=3)
LIMIT = 24


class UnspeakableError(Exception):
    """Nobody can print it."""

    def __repr__(self):
        raise RuntimeError("no words")

    __str__ = __repr__


class Bare(BaseException):
    """An exception that only the last resort catches."""


class Thing:
    """No value of any kind that is asked for, and unspeakable too."""

    def __repr__(self):
        raise SystemExit(0)


def raising(error):
    def fails(*_, **__):
        raise error

    return fails


def giving(value):
    return lambda *_, **__: value


FAULTS = {
    "Exception": raising(RuntimeError("broken")),
    "SystemExit": raising(SystemExit(0)),
    "BaseException": raising(Bare("broken")),
    "unspeakable": raising(UnspeakableError()),
    "None": giving(None),
    "nan": giving(float("nan")),
    "text": giving("wrong"),
    "huge": giving(10**400),
    "thing": giving(Thing()),
}

RAISING = [FAULTS[name] for name in ("Exception", "SystemExit", "BaseException", "unspeakable")]


class Faulty:
    """Stands before an object and lets one member fail from its nth use on."""

    def __init__(self, inner, member, fault, *, after=0, wrap=()):
        self._inner, self._member, self._fault = inner, member, fault
        self._left = after
        self._wrap = dict(wrap)

    def __getattr__(self, name):
        value = getattr(self._inner, name)
        if name in self._wrap:
            made = self._wrap[name]
            return lambda *args: made(value(*args))
        if name != self._member:
            return value
        if callable(value):
            return self._call(value)
        return self._fault() if self._due() else value

    def _due(self):
        self._left -= 1
        return self._left < 0

    def _call(self, value):
        return lambda *args, **options: (self._fault if self._due() else value)(*args, **options)  # noqa: PLW0108 - asked anew each time


class Proposal(Faulty):
    def __len__(self):
        fails = self._member == "__len__" and self._due()
        return self._fault() if fails else len(self._inner)


class Kind:
    """A policy that uses everything a policy may use."""

    needs = SIGNALS
    requires = Requirements(perplexity=True)

    def __init__(self):
        self.rounds = 0

    def plan(self, start):
        stop = StopRule("entropy", above=2.0) if self.rounds % 2 else None
        return Plan(min(3, start.budget), "first", stop, "kind", frozenset({"second"} & start.drafts.keys()))

    def keep_drafting(self, signals):
        return signals.position < 2

    def observe(self, done):
        self.rounds += 1

    def state_dict(self):
        return {"version": 1, "rounds": self.rounds}

    def load_state_dict(self, state):
        self.rounds = state["rounds"]

    def export(self):
        return {"rounds": float(self.rounds)}

    def absorb(self, statistics):
        self.rounds += int(statistics["rounds"])


class Counted:
    """The toy target and drafts, counting the sessions that are open."""

    def __init__(self):
        self.open = 0

    def target(self, **how):
        return Opened(self, Perplexing(seed=3), **how)

    def draft(self, **how):
        return Opened(self, Scorer(TARGET, agreement=0.8), **how)


class Perplexing(ToyTarget):
    def perplexity(self, prompt):
        return 3.0


class Scorer(ToyDraft):
    def open(self, prompt):
        session = super().open(prompt)
        return Matching(session)


class Matching:
    match_length = 2
    memoryless = True

    def __init__(self, session):
        self._session = session

    def __getattr__(self, name):
        return getattr(self._session, name)

    @property
    def lag(self):
        return self._session.lag

    def score(self, tokens):
        return [1.0] * len(tokens)


class Opened(Faulty):
    """A model whose sessions are counted; its session, or a proposal of it, may fail too."""

    def __init__(self, counted, model, *, member=None, fault=None, after=0, where="model"):
        super().__init__(model, member if where == "model" else None, fault, after=after)
        self._counted, self._where = counted, where
        self._how = (member, fault, after)

    def perplexity(self, prompt):
        return self.__getattr__("perplexity")(prompt)

    def open(self, prompt):
        session = self.__getattr__("open")(prompt)
        if not hasattr(session, "close"):
            return session
        self._counted.open += 1
        member, fault, after = self._how
        inner = Closing(session, self._counted)
        if self._where == "session":
            return Session(inner, member, fault, after=after)
        if self._where == "proposal":
            return Session(
                inner, None, None, wrap={"draft": lambda made: Proposal(made, member, fault, after=after)}
            )
        if self._where == "verdict":
            return Session(
                inner, None, None, wrap={"verify": lambda made: Faulty(made, member, fault, after=after)}
            )
        return inner


class Session(Faulty):
    """A session that fails; closing it closes the right one whatever it then raises."""

    def __getattr__(self, name):
        value = super().__getattr__(name)
        if name == "close" and self._member == "close":
            self._inner.close()
        return value


class Closing:
    """A session that says when it is closed, once."""

    def __init__(self, session, counted):
        self._session, self._counted, self._closed = session, counted, False

    def __getattr__(self, name):
        return getattr(self._session, name)

    def close(self):
        self._counted.open -= not self._closed
        self._closed = True


class Memo:
    """Ways to teach a policy and to save it."""

    def __init__(self, member=None, fault=None):
        self._how = (member, fault)

    def __call__(self, policy):
        member, fault = self._how
        if member == "call":
            return fault(policy)
        policy.load_state_dict({"version": 1, "rounds": 1})
        return Faulty(self, member, fault)

    def save(self):
        pass


def alone():
    output = [5]
    while len(output) <= LIMIT:
        output.append(TARGET.next(output))
    return tuple(output[1:])


ALONE = alone()


def run(counted, *, policy=None, target=None, first=None, trace=None, restore=None, fallback=True):
    drafts = {"first": counted.draft() if first is None else first, "second": counted.draft()}
    decoder = SpeculativeDecoder(
        counted.target() if target is None else target,
        drafts,
        Kind() if policy is None else policy,
        trace=trace,
        restore=restore,
        on_policy_error="fallback" if fallback else "raise",
    )
    with decoder:
        return decoder.generate([5], max_new_tokens=LIMIT)


def check(name, *, tolerated=True, **parts):
    """Run with and without `fallback`; `parts` make what is at fault, anew for each run."""
    counted = Counted()
    with capture_logs() as logs:
        done = run(counted, **{key: make(counted) for key, make in parts.items()})
    assert done.tokens == ALONE
    assert counted.open == 0
    counted = Counted()
    with capture_logs():
        try:
            done = run(counted, fallback=False, **{key: make(counted) for key, make in parts.items()})
        except PacelineError as error:
            assert name in str(error)
            assert logs, "what raises must be said under fallback"
        else:
            assert tolerated
            assert done.tokens == ALONE
    assert counted.open == 0


@pytest.fixture
def trace(tmp_path):
    """A maker of traces, as `check` takes parts."""
    return lambda _: TraceWriter(tmp_path / "t.jsonl")


def blames_the_target(counted, target, *, fallback):
    """Run with a target that fails; return its error, or None where the text came about all the same."""
    try:
        with capture_logs():
            done = run(counted, target=target, fallback=fallback)
    except PacelineError as error:
        assert "target" in str(error)
        return error
    else:
        assert done.tokens == ALONE
        return None
    finally:
        assert counted.open == 0


faults = pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
after = pytest.mark.parametrize("after", [0, 2])


def test_without_faults_everything_that_may_fail_is_used(tmp_path):
    with capture_logs() as logs:
        counted, policy = Counted(), Kind()
        done = run(counted, policy=policy, trace=TraceWriter(tmp_path / "t.jsonl"), restore=Memo())
    assert (done.tokens, logs, counted.open) == (ALONE, [], 0)
    (request,) = read_trace(tmp_path / "t.jsonl").requests
    assert {*request.rounds[0].scores, *request.rounds[0].drafts} == {"first", "second"}
    assert request.rounds[0].signals
    assert request.info["perplexity"] == 3.0


@faults
@after
@pytest.mark.parametrize("member", ["plan", "keep_drafting", "observe", "needs", "requires"])
def test_a_policy(trace, member, after, fault):
    check("policy Faulty", policy=lambda _: Faulty(Kind(), member, fault, after=after), trace=trace)


PLANS = {
    "gamma": [None, float("nan"), 1.0, True, 10**400, -1, "2", Thing()],
    "draft": [float("nan"), 3, "", "nobody", [], Thing()],
    "stop": [3, "top1", Thing(), StopRule("top1", below=float("nan")), StopRule("top1", above=float("inf"))],
    "reason": [3, float("nan"), ["word"], "long " * 100, Thing(), b"bytes"],
    "score": [None, 3, "first", {"first"}, frozenset({"nobody"}), Thing()],
    "use_signals": [None, 3, "no", Thing()],
}


@pytest.mark.parametrize(
    ("part", "value"),
    [(part, value) for part, values in PLANS.items() for value in values],
    ids=lambda value: value if type(value) is str else type(value).__name__,
)
def test_a_plan(trace, part, value):
    class Odd(Kind):
        def plan(self, start):
            plan = super().plan(start)
            return replace(plan, **{part: value}) if self.rounds > 1 else plan

    check("Odd", policy=lambda _: Odd(), trace=trace, tolerated=value == "")


@pytest.mark.parametrize("spoil", ["clear", "add", "assign", "costs", "capabilities", "merge", "done"])
def test_a_policy_that_changes_what_it_is_shown(trace, spoil):
    class Spoiling(Kind):
        def plan(self, start):
            plan = super().plan(start)
            match spoil:
                case "clear":
                    start.drafts.clear()
                case "add":
                    start.drafts["nobody"] = DraftState(3)
                case "assign":
                    start.budget = 99
                case "capabilities":
                    start.capabilities.gammas = (3,)
                case "costs":
                    start.costs.draft_s = None
                case "merge":
                    start.drafts |= {"nobody": DraftState(3)}
            return plan

        def observe(self, done):
            super().observe(done)
            if spoil == "done":
                done.scores.clear()

    check("Spoiling", policy=lambda _: Spoiling(), trace=trace)


@faults
def test_a_function_that_makes_policies(fault):
    check("policy", policy=lambda _: fault, tolerated=False)


@faults
@pytest.mark.parametrize("member", ["signals", "open"])
def test_a_draft(member, fault):
    check("draft 'first'", first=lambda counted: counted.draft(member=member, fault=fault))


@faults
@after
@pytest.mark.parametrize(
    "member", ["draft", "advance", "close", "lag", "match_length", "score", "memoryless"]
)
def test_a_session_of_a_draft(trace, member, after, fault):
    first = lambda counted: counted.draft(member=member, fault=fault, after=after, where="session")
    check("draft 'first'", first=first, trace=trace)


@faults
@pytest.mark.parametrize("member", ["tokens", "signals", "__len__"])
def test_a_proposal(trace, member, fault):
    first = lambda counted: counted.draft(member=member, fault=fault, where="proposal")
    check("draft 'first'", first=first, trace=trace)


SIGNS = {
    "nan": TokenSignals(0, top1=float("nan"), entropy=1.0),
    "infinite": TokenSignals(0, top1=0.5, entropy=float("inf")),
    "text": TokenSignals(0, top1=0.5, entropy="high"),
    "huge": TokenSignals(0, top1=0.5, entropy=1.0, margin=10**400),
    "token": TokenSignals(0, top1=0.5, entropy=1.0, token=0.5),
    "none": None,
}


@pytest.mark.parametrize("sign", SIGNS.values(), ids=SIGNS)
def test_signals(trace, sign):
    fault = giving((sign,) * 3)
    first = lambda counted: counted.draft(member="signals", fault=fault, where="proposal")
    check("draft 'first'", first=first, trace=trace, tolerated=False)


@faults
@pytest.mark.parametrize("member", ["begin", "close"])
def test_a_trace(tmp_path, member, fault):
    trace = lambda _: Session(TraceWriter(tmp_path / "t.jsonl"), member, fault)
    check("t.jsonl", trace=trace)


@faults
def test_a_trace_that_ends_in_the_middle(tmp_path, monkeypatch, fault):
    writer = TraceWriter(tmp_path / "t.jsonl")
    left = [4]

    def write(line):
        left[0] -= 1
        return fault() if left[0] < 0 else TraceWriter.write(writer, line)

    monkeypatch.setattr(writer, "write", write)
    check("t.jsonl", trace=lambda _: writer)


@faults
@pytest.mark.parametrize("member", ["call", "save"])
def test_what_restores_and_saves_a_policy(member, fault):
    check("state of policy", restore=lambda _: Memo(member, fault))


@faults
@pytest.mark.parametrize("member", ["load_state_dict", "state_dict"])
def test_a_policy_that_is_restored(member, fault):
    check("Faulty", policy=lambda _: Faulty(Kind(), member, fault), restore=lambda _: Memo())


@faults
def test_a_target_that_is_asked_for_perplexity(fault):
    check("target", target=lambda counted: counted.target(member="perplexity", fault=fault))


@faults
@pytest.mark.parametrize("fallback", [False, True])
@pytest.mark.parametrize("member", ["open", "vocabulary", "eos", "capabilities", "max_context"])
def test_a_target(member, fault, fallback):
    counted = Counted()
    blames_the_target(counted, counted.target(member=member, fault=fault), fallback=fallback)


@faults
@after
@pytest.mark.parametrize("fallback", [False, True])
@pytest.mark.parametrize(
    ("where", "member"),
    [("session", "verify"), ("session", "advance"), ("verdict", "accepted"), ("verdict", "tokens")],
)
def test_a_session_of_a_target(where, member, after, fault, fallback):
    counted = Counted()
    if where == "verdict" and after:
        pytest.skip("each round has one of its own")
    if member == "advance" and fault not in RAISING:
        pytest.skip("what a target that advances returns is not asked for")
    target = counted.target(member=member, fault=fault, after=after, where=where)
    error = blames_the_target(counted, target, fallback=fallback)
    if error is None:
        assert member == "advance"
    else:
        assert error.delivered == ALONE[: len(error.delivered)]
        assert len(error.delivered) >= after + (member == "advance" and fallback)


def test_a_stream_gives_all_there_is_before_it_says_that_the_target_failed():
    class Pairs:
        """Two tokens are a character, so that one alone has to wait."""

        def decode(self, tokens):
            whole = "".join(chr(97 + tokens[i] % 26) for i in range(0, len(tokens) - 1, 2))
            return whole + "\N{REPLACEMENT CHARACTER}" * (len(tokens) % 2)

    counted = Counted()
    target = counted.target(member="verify", fault=RAISING[0], after=3, where="session")
    inner = replace(target._inner, codec=Pairs())
    target._inner = inner
    decoder = SpeculativeDecoder(target, {}, Kind())
    pieces = []
    with pytest.raises(TargetError, match="broken"):  # noqa: PT012 - the loop is what raises
        for piece in decoder.stream([5], max_new_tokens=LIMIT):
            pieces.append(piece)  # noqa: PERF402 - what came before the error is looked at
    assert "".join(pieces) == Pairs().decode(ALONE[:3])
    assert counted.open == 0


STATES = ["state_dict", "load_state_dict", "export", "absorb"]


@faults
@after
@pytest.mark.parametrize("member", STATES)
def test_a_policy_that_is_kept_in_a_file(tmp_path, member, after, fault):
    store, key = StateStore(tmp_path / "state.db"), StateKey.of("kind", {})
    known = lambda _: partial(StateCheckpoint, store, key, None)
    with capture_logs():
        run(Counted(), restore=known(None))
    check("Faulty", policy=lambda _: Faulty(Kind(), member, fault, after=after), restore=known)


@faults
@pytest.mark.parametrize("fallback", [False, True])
def test_a_session_of_a_target_that_does_not_close(fault, fallback):
    counted = Counted()
    target = counted.target(member="close", fault=fault, where="session")
    error = blames_the_target(counted, target, fallback=fallback)
    assert error is None or (not fallback and error.delivered == ALONE)


@faults
@pytest.mark.parametrize("member", ["encode", "decode"])
def test_a_tokenizer(member, fault):
    if member == "decode" and fault is FAULTS["text"]:
        pytest.skip("that is text")
    target = replace(TARGET, codec=Faulty(TARGET.codec, member, fault))
    decoder = SpeculativeDecoder(target, {}, Kind(), on_policy_error="fallback")
    with pytest.raises(PacelineError, match="target") as caught:
        decoder.generate("the rain", max_new_tokens=LIMIT)
    assert len(caught.value.delivered) == (LIMIT if member == "decode" else 0)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, GeneratorExit])
@pytest.mark.parametrize("member", ["plan", "keep_drafting", "observe", "needs"])
def test_an_interrupt_is_nobodys_fault_and_closes_everything(member, stop):
    counted = Counted()
    with pytest.raises(stop):
        run(counted, policy=Faulty(Kind(), member, raising(stop()), after=1))
    assert counted.open == 0


def test_a_proposal_that_says_it_is_shorter_than_it_is():
    class Liar(TokenProposal):
        def __len__(self):
            return 1

    counted = Counted()
    fault = giving(Liar((1, 2, 3)))
    first = counted.draft(member="draft", fault=fault, where="session")
    with capture_logs() as logs:
        assert run(counted, first=first).tokens == ALONE
    assert [log["event"] for log in logs] == ["draft_failed"]
