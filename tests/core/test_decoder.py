"""`SpeculativeDecoder` on the toy pair."""

import threading
from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.backends.prompt_lookup import PromptLookup
from paceline.backends.toy import ToyDraft, ToyTarget
from paceline.core.batch import BatchDecoder
from paceline.core.clock import CostTableClock, RecordedClock
from paceline.core.costs import CostTable
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.errors import BackendError, CapabilityError, ContractError
from paceline.core.generation import Tally, Totals
from paceline.core.records import SIGNALS, Capabilities, Plan, Requirements
from paceline.core.testing.doubles import ChaoticPolicy, ScriptedPolicy
from paceline.core.trace import TraceWriter, read_trace
from paceline.policies.online import OnlineConfig
from paceline.policies.thompson import ThompsonConfig

TARGET = ToyTarget(seed=3, eos_share=0.02)
DRAFTS = {
    "good": ToyDraft(TARGET, agreement=0.85),
    "bad": ToyDraft(TARGET, agreement=0.2),
    "lookup": PromptLookup(),
}
COSTS = CostTable({1: 1.0, 9: 1.3}, {"good": 0.1, "bad": 0.05, "lookup": 0.001})


def alone(prompt, limit, target=TARGET):
    """Decode with the table itself, no loop involved."""
    output = []
    while len(output) < limit and 0 not in output:
        output.append(target.next([*prompt, *output]))
    return tuple(output)


def decoder(policy, drafts=DRAFTS, target=TARGET, **options):
    return SpeculativeDecoder(target, drafts, policy, **options)


def at_least(counts):
    """Return how many counts come past each position."""
    return tuple(sum(count > place for count in counts) for place in range(max(counts, default=0)))


prompts = st.lists(st.integers(1, 26), min_size=1, max_size=9)


totals = st.builds(
    Totals,
    rounds=st.integers(0, 9),
    seconds=st.integers(0, 9).map(float),
    gammas=st.dictionaries(st.integers(0, 4), st.integers(1, 9)),
    drafts=st.dictionaries(st.sampled_from(["", "a", "b"]), st.integers(1, 9)),
    reached=st.lists(st.integers(1, 9), max_size=4).map(tuple),
)


@given(one=totals, two=totals, three=totals)
def test_totals_add_up_in_any_order(one, two, three):
    assert one + two == two + one
    assert (one + two) + three == one + (two + three)


@settings(deadline=None, max_examples=300)
@given(
    prompt=prompts,
    limit=st.integers(1, 60),
    seed=st.integers(0, 999),
    signals=st.sampled_from([frozenset(), SIGNALS]),
)
def test_a_chaotic_policy_changes_no_token(prompt, limit, seed, signals):
    policy = ChaoticPolicy(seed, ["good", "bad"] if signals else list(DRAFTS), signals=signals, max_gamma=12)

    assert alone(prompt, limit) == decoder(policy).generate(prompt, max_new_tokens=limit).tokens


@settings(deadline=None, max_examples=100)
@given(prompt=prompts, limit=st.integers(1, 60), gammas=st.lists(st.integers(0, 9), min_size=1, max_size=5))
def test_the_rounds_add_up_to_the_text_and_to_the_totals(prompt, limit, gammas):
    policy = ScriptedPolicy([Plan(gamma, "good") for gamma in gammas])
    seen = []

    result = decoder(policy).generate(prompt, max_new_tokens=limit, on_round=seen.append)

    assert result.tokens == tuple(token for done in seen for token in done.tokens)
    assert result.totals.rounds == len(seen)
    assert result.totals.accepted == sum(done.accepted for done in seen)
    assert result.totals.gammas == dict(sorted(Counter(done.plan.gamma for done in seen).items()))
    assert result.totals.drafts == dict(sorted(Counter(done.plan.draft or "" for done in seen).items()))
    assert result.totals.agreed == at_least([done.accepted for done in seen])
    assert result.totals.reached == at_least([done.accepted + done.rejected for done in seen])
    assert [None] * (len(seen) - 1) == [done.ended for done in seen[:-1]]
    assert result.ended == seen[-1].ended
    for done in seen:
        assert done.position + len(prompt) == done.context
        assert done.ended or done.emitted == done.accepted + 1


@settings(deadline=None, max_examples=100)
@given(prompt=prompts, limit=st.integers(1, 60), gammas=st.lists(st.integers(0, 9), min_size=1, max_size=5))
def test_lag_is_one_after_full_acceptance_and_grows_while_a_draft_rests(prompt, limit, gammas):
    policy = ScriptedPolicy([Plan(gamma, "good") for gamma in gammas])
    decoder(policy).generate(prompt, max_new_tokens=limit)

    lag = len(prompt) - 1
    for start, done in zip(policy.starts, policy.rounds, strict=True):
        assert lag == start.drafts["good"].lag
        assert start.drafts["bad"].lag == len(prompt) - 1 + start.position
        lag = int(done.accepted == done.drafted) if done.drafted else lag + done.emitted


def test_the_budget_never_lets_a_round_run_past_the_limit():
    policy = ScriptedPolicy([8])
    result = decoder(policy, {"good": ToyDraft(TARGET, agreement=1.0)}, eos=frozenset()).generate(
        [5], max_new_tokens=20
    )

    assert len(result.tokens) == 20
    assert all(start.budget == 20 - start.position - 1 for start in policy.starts)


def test_without_drafts_a_policy_for_drafts_decodes_plainly():
    result = decoder(ScriptedPolicy([5]), {}).generate([5, 6], max_new_tokens=30)

    assert alone([5, 6], 30) == result.tokens
    assert result.totals.drafted == 0


def test_an_end_token_inside_an_accepted_block_ends_the_text_there():
    target = ToyTarget(seed=1, eos_share=0.25)
    drafts = {"perfect": ToyDraft(target, agreement=1.0)}
    ended_inside = 0
    for first in range(1, 27):
        seen = []
        result = decoder(ScriptedPolicy([6]), drafts, target).generate(
            [first, 2], max_new_tokens=40, on_round=seen.append
        )

        assert alone([first, 2], 40, target) == result.tokens
        assert result.ended == "eos"
        assert not seen[-1].rejected
        ended_inside += seen[-1].emitted <= seen[-1].accepted
    assert ended_inside > 10


def test_a_stop_criterion_is_asked_token_by_token():
    whole = alone([5], 40, ToyTarget(seed=3))
    wanted = whole[7]
    drafts = {"perfect": ToyDraft(ToyTarget(seed=3), agreement=1.0)}

    result = decoder(ScriptedPolicy([9]), drafts, ToyTarget(seed=3)).generate(
        [5], max_new_tokens=40, stop=[lambda output: output[-1] == wanted]
    )

    assert whole[: whole.index(wanted) + 1] == result.tokens
    assert result.ended == "stop"


def test_the_stream_is_the_text():
    speculating = decoder(ScriptedPolicy([Plan(4, "good")]))

    pieces = list(speculating.stream("the quick", max_new_tokens=50))

    assert speculating.generate("the quick", max_new_tokens=50).text == "".join(pieces)
    assert len(pieces) > 5


def test_nothing_is_opened_before_the_first_round_is_asked_for():
    opened = Opening(TARGET)
    rounds = decoder(ScriptedPolicy([0]), {}, opened).rounds([5])
    assert opened.open_sessions == opened.ever == 0
    next(rounds)
    assert opened.open_sessions == 1
    rounds.close()

    assert opened.open_sessions == 0


def test_every_session_is_closed_when_a_draft_cannot_open():
    class Broken:
        signals = frozenset()

        def open(self, prompt):
            raise RuntimeError("no memory")

    opened = Opening(TARGET)
    with pytest.raises(BackendError, match=r"draft 'broken' failed: .*no memory"):
        next(decoder(ScriptedPolicy([0]), {"broken": Broken()}, opened).rounds([5]))

    assert (opened.ever, opened.open_sessions) == (1, 0)


@dataclass
class Opening:
    """The toy target, counting its open sessions."""

    target: ToyTarget
    ever: int = 0
    open_sessions: int = 0
    vocabulary: int = ToyTarget.vocabulary
    eos: frozenset = ToyTarget.eos
    codec: object = None
    max_context: int | None = None
    capabilities: Capabilities = field(default_factory=Capabilities)

    def open(self, prompt):
        session = self.target.open(prompt)
        self.ever += 1
        self.open_sessions += 1
        outer = self

        class Session:
            verify = staticmethod(session.verify)
            advance = staticmethod(session.advance)

            def close(self):
                outer.open_sessions -= 1

        return Session()


@pytest.mark.parametrize(
    ("prompt", "options", "message"),
    [
        ([], {}, "the prompt is empty"),
        ("", {}, "the prompt is empty"),
        ([5, 99], {}, "the prompt holds 99; tokens are 0 to 27"),
        ([5, 1.0], {}, "the prompt holds 1.0; tokens are 0 to 27"),
        (["a"], {}, "the prompt holds 'a'; tokens are 0 to 27"),
        ([5], {"max_new_tokens": 0}, "max_new_tokens must be at least 1"),
    ],
)
def test_bad_prompts_are_refused_when_they_are_given(prompt, options, message):
    with pytest.raises(BackendError, match=message):
        decoder(ScriptedPolicy([0])).rounds(prompt, **options)


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_the_numbers_of_an_array_are_a_prompt(kind):
    plain = decoder(ScriptedPolicy([2]))
    assert all(type(token) is int for token in plain.encode(kind([5, 6])))
    assert plain.generate(kind([5, 6])).tokens == plain.generate([5, 6]).tokens


def test_a_prompt_that_fills_the_context_is_refused_and_a_text_ends_where_the_context_ends():
    short = replace(TARGET, max_context=10, eos_share=0.0)
    with pytest.raises(BackendError, match="the target's context ends at 10"):
        decoder(ScriptedPolicy([3]), target=short).rounds([5] * 10)

    result = decoder(ScriptedPolicy([3]), target=short).generate([5] * 4, max_new_tokens=100)

    assert (len(result.tokens), result.ended) == (6, "length")


def test_text_without_a_tokenizer_is_refused():
    with pytest.raises(BackendError, match="no tokenizer"):
        decoder(ScriptedPolicy([0]), {}, Opening(TARGET)).generate("hello")


@pytest.mark.parametrize("config", [OnlineConfig(), ThompsonConfig()])
def test_under_a_virtual_clock_a_run_repeats_itself_exactly(config):
    def run():
        seen = []
        speculating = decoder(config.build(7), clock=CostTableClock(COSTS))
        speculating.generate([5, 6], max_new_tokens=200, on_round=seen.append)
        return seen

    assert run() == run()


def test_a_recorded_run_repeats_its_plans_and_times():
    seen, again = [], []
    target = replace(TARGET, eos_share=0.0)
    decoder(OnlineConfig().build(), target=target).generate([5, 6], max_new_tokens=80, on_round=seen.append)

    clock = RecordedClock(seen)
    decoder(OnlineConfig().build(), target=target, clock=clock).generate(
        [5, 6], max_new_tokens=80, on_round=again.append
    )

    assert [done.plan for done in seen] == [done.plan for done in again]
    assert [done.verify_s for done in seen] == pytest.approx([done.verify_s for done in again], abs=1e-9)


def test_a_policy_given_as_a_function_starts_afresh_for_each_request():
    made = []

    def fresh():
        made.append(ScriptedPolicy([2]))
        return made[-1]

    speculating = decoder(fresh)
    for _ in range(3):
        speculating.generate([5], max_new_tokens=9)

    assert [policy.starts[0].index == 0 and len(policy.starts) > 0 for policy in made[-3:]] == [
        True,
        True,
        True,
    ]
    assert speculating.policy is made[-1]


def test_a_class_given_as_policy_makes_one_for_each_request():
    class Two:
        made = 0

        def __init__(self):
            type(self).made += 1

        def plan(self, start):
            return Plan(min(2, start.budget), "good")

        def observe(self, done):
            pass

    speculating = decoder(Two)
    before = Two.made
    for _ in range(3):
        assert speculating.generate([5], max_new_tokens=9).tokens == alone([5], 9)
    assert Two.made - before == 3
    assert isinstance(speculating.policy, Two)


@pytest.mark.parametrize("missing", ["plan", "observe"])
def test_a_policy_that_lacks_what_it_must_have_is_named_with_what_it_lacks(missing):
    members = {"plan": lambda self, start: Plan(0), "observe": lambda self, done: None}
    del members[missing]
    lame = type("Lame", (), members)
    for policy in (lame(), lame):
        with pytest.raises(ContractError, match=rf"policy Lame .*: it has no {missing}\(\)"):
            decoder(policy)


def test_a_second_request_within_one_is_refused_and_the_first_goes_on():
    speculating = decoder(ScriptedPolicy([2]))
    first = speculating.rounds([5], max_new_tokens=30)
    tokens = [*next(first).tokens]
    with pytest.raises(CapabilityError, match=r"in the middle of another request; .* close its iterator"):
        speculating.generate([6], max_new_tokens=30)
    for done in first:
        tokens.extend(done.tokens)
    assert alone([5], 30) == tuple(tokens)
    assert speculating.generate([6], max_new_tokens=30).tokens == alone([6], 30)


def test_a_request_that_was_left_is_not_in_the_way_of_the_next():
    speculating = decoder(ScriptedPolicy([2]))
    for _ in speculating.rounds([5], max_new_tokens=30):
        break
    unstarted = speculating.rounds([5], max_new_tokens=30)
    assert speculating.generate([6], max_new_tokens=30).tokens == alone([6], 30)
    tokens = tuple(token for done in unstarted for token in done.tokens)
    assert tokens == alone([5], 30)


def test_where_it_is_said_requests_interleave():
    speculating = decoder(ScriptedPolicy([2]), interleaved=True)
    texts = {first: [] for first in (5, 6)}
    under_way = {first: speculating.rounds([first], max_new_tokens=30) for first in texts}
    for _ in range(30):
        for first, rounds in under_way.items():
            texts[first].extend(next(rounds).tokens if len(texts[first]) < len(alone([first], 30)) else ())
    assert {first: tuple(text) for first, text in texts.items()} == {5: alone([5], 30), 6: alone([6], 30)}


def test_a_thread_that_takes_a_round_while_another_is_in_one_is_refused():
    inside, refused = threading.Event(), threading.Event()

    class Slow(ScriptedPolicy):
        def plan(self, start):
            inside.set()
            assert refused.wait(10.0) or start.context > 1
            return super().plan(start)

    speculating = decoder(Slow([2]), interleaved=True)
    done = []
    thread = threading.Thread(target=lambda: done.append(speculating.generate([5], max_new_tokens=9)))
    thread.start()
    assert inside.wait(10.0)
    with pytest.raises(CapabilityError, match="another thread is in a round"):
        speculating.generate([6], max_new_tokens=9)
    refused.set()
    thread.join()
    assert done[0].tokens == alone([5], 9)


def test_the_trace_of_an_abandoned_request_is_marked_as_abandoned(tmp_path):
    with decoder(ScriptedPolicy([2]), trace=TraceWriter(tmp_path / "t.jsonl")) as speculating:
        rounds = speculating.rounds([5], max_new_tokens=50)
        first = next(rounds)
        rounds.close()
        whole = speculating.generate([5], max_new_tokens=9)

    abandoned, finished = read_trace(tmp_path / "t.jsonl").requests
    assert ([first], None, True) == (abandoned.rounds, abandoned.ended, abandoned.complete)
    assert whole.tokens == tuple(token for done in finished.rounds for token in done.tokens)


@pytest.mark.parametrize(
    ("requires", "engine", "message"),
    [
        (Requirements(latency="split"), Capabilities(latency="fused"), "learns from split latencies"),
        (Requirements(any_gamma=True), Capabilities(gammas=(0, 4)), "plans any gamma"),
        (Requirements(zero_gamma=True), Capabilities(zero_gamma=False), "rounds without drafting"),
        (
            Requirements(draft_switch="round"),
            Capabilities(draft_switch="request"),
            "changes drafts between rounds, the engine between requests only",
        ),
        (
            Requirements(draft_switch="request"),
            Capabilities(draft_switch="none"),
            "changes drafts between requests, the engine never",
        ),
        (Requirements(immediate=True), Capabilities(action_delay=1), "1 rounds later"),
    ],
)
def test_a_policy_that_does_not_fit_the_engine_is_refused_before_the_first_token(requires, engine, message):
    policy = ScriptedPolicy([2])
    policy.requires = requires

    with pytest.raises(CapabilityError, match=message):
        decoder(policy, target=replace(TARGET, capabilities=engine))


def test_signals_that_are_only_wanted_may_be_missing_from_every_draft():
    policy = ScriptedPolicy([2])
    policy.needs = frozenset({"entropy"})

    found = decoder(policy, {"lookup": PromptLookup()}).generate([5, 3, 9], max_new_tokens=30)

    assert found.tokens == alone([5, 3, 9], 30)


def test_signals_that_drafting_is_stopped_by_are_refused_where_no_draft_delivers_them():
    policy = ScriptedPolicy([2])
    policy.requires = Requirements(signals=frozenset({"entropy"}))

    with pytest.raises(CapabilityError, match="stops drafting by entropy"):
        decoder(policy, {"lookup": PromptLookup()})


@pytest.mark.parametrize(
    "begin",
    [
        lambda decoder, **options: decoder.rounds([1], **options),
        lambda decoder, **options: decoder.stream([1], **options),
        lambda decoder, **options: decoder.generate([1], **options),
        lambda decoder, **options: decoder.opened([1], tally=Tally(), **options).__enter__(),
        lambda decoder, **options: decoder.conversation(**options),
        lambda decoder, **options: BatchDecoder(decoder).submit([1], **options),
        lambda decoder, **options: BatchDecoder(decoder).generate([[1]], **options),
    ],
    ids=["rounds", "stream", "generate", "opened", "conversation", "submit", "batch"],
)
def test_an_option_that_no_request_has_is_refused_wherever_a_request_begins(begin):
    with pytest.raises(TypeError, match="max_tokens"):
        begin(decoder(ScriptedPolicy([0]), {}), max_tokens=3)
