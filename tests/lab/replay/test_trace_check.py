import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.backends.prompt_lookup import PromptLookup
from paceline.backends.toy import ToyDraft, ToyTarget
from paceline.core.clock import CostTableClock
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.errors import CapabilityError, TraceError
from paceline.core.plugins.catalogue import Catalogue
from paceline.core.sampling import GREEDY, Sampling
from paceline.core.testing.doubles import FixedCosts
from paceline.core.trace import TraceWriter
from paceline.lab.replay.trace_check import check
from paceline.lab.short_names import parse_policy

CATALOGUE = Catalogue.load()
READERS = ("cached-fsm", "linear-select")
"""Policies that read prompts, which serving traces do not hold."""


class Jitter(CostTableClock):
    """Times that nobody could foresee, as those of a wall clock."""

    def __init__(self, seed):
        super().__init__(
            FixedCosts({"small": 0.1, "lookup": 0.01}, lambda length, context: 1 + 0.01 * length)
        )
        self._random = random.Random(seed)

    def spend(self, work):
        super().spend(work)
        self._now += self._random.random() / 50


def served(path, config, *, seed, requests=2, scope="decoder", sampling=GREEDY):
    target = ToyTarget(seed=seed, eos_share=0.02)
    drafts = {"small": ToyDraft(target, agreement=0.7), "lookup": PromptLookup()}
    about = {
        "config": {"policy": config.model_dump(mode="json"), "generation": {"seed": seed}, "scope": scope}
    }
    policy = (lambda: config.build(seed)) if scope == "request" else config.build(seed)
    trace = TraceWriter(path, about)
    with SpeculativeDecoder(
        target,
        drafts,
        policy,
        clock=Jitter(seed),
        trace=trace,
        sampling=sampling,
        max_new_tokens=40,
        interleaved=True,
    ) as decoder:
        under_way = [decoder.rounds([1 + number, 5, 6]) for number in range(requests)]
        while under_way:  # requests take turns, so that their rounds interleave
            under_way = [rounds for rounds in under_way if next(rounds, None) is not None]
    return path


@pytest.mark.parametrize("name", sorted(CATALOGUE.policies))
@settings(deadline=None, max_examples=5)
@given(seed=st.integers(0, 99), sampled=st.booleans())
def test_every_decision_is_taken_again(name, tmp_path_factory, seed, sampled):
    config = parse_policy(name, CATALOGUE)
    sampling = Sampling(temperature=1.0, seed=seed) if sampled else GREEDY
    path = tmp_path_factory.mktemp("trace") / "trace.jsonl"
    try:
        served(path, config, seed=seed, sampling=sampling)
    except CapabilityError:
        config = parse_policy(f"{name}:draft=small", CATALOGUE)
        served(path, config, seed=seed, sampling=sampling)
    if name in READERS:
        with pytest.raises(TraceError, match="reads the prompt"):
            check(path, CATALOGUE)
        return
    found = check(path, CATALOGUE)
    assert (found.requests, found.differing, found.otherwise) == (2, 0, [])
    assert found.rounds == sum('"kind":"round"' in line for line in path.read_text().splitlines()) >= 2


def test_a_policy_that_starts_anew_with_each_request_is_started_anew(tmp_path):
    config = parse_policy("ucb", CATALOGUE)
    path = served(tmp_path / "trace.jsonl", config, seed=3, scope="request", requests=1)
    assert check(path, CATALOGUE).differing == 0


@pytest.mark.parametrize(
    "changes", [{"seed": 8}, {"policy": "thompson:max_gamma=3"}, {"policy": "static-2"}], ids=str
)
def test_another_seed_or_policy_is_found_out(tmp_path, changes):
    config = parse_policy("thompson", CATALOGUE)
    path = served(tmp_path / "trace.jsonl", config, seed=7)
    lines = path.read_text().splitlines()
    header = json.loads(lines[0])
    if "seed" in changes:
        header["run"]["config"]["generation"]["seed"] = changes["seed"]
    else:
        header["run"]["config"]["policy"] = parse_policy(changes["policy"], CATALOGUE).model_dump(mode="json")
    path.write_text("\n".join([json.dumps(header), *lines[1:]]) + "\n")
    found = check(path, CATALOGUE)
    assert found.differing > 0
    first = found.otherwise[0]
    assert first.recorded != first.now
    assert len(found.otherwise) <= 8


def test_times_matter(tmp_path):
    """The check would be worth little if the recorded times were not what decisions hang on."""
    config = parse_policy("survival", CATALOGUE)
    path = served(tmp_path / "trace.jsonl", config, seed=7)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if line["kind"] == "round":
            line["draft_s"] *= 30
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert check(path, CATALOGUE).differing > 0


def test_a_trace_that_says_too_little_is_refused(tmp_path):
    path = tmp_path / "trace.jsonl"
    with TraceWriter(path, {}) as trace:
        trace.begin([1], 5)
    with pytest.raises(TraceError, match=r"trace\.jsonl:1: the trace does not say which policy it was"):
        check(path, CATALOGUE)
    with TraceWriter(path, {"config": {"policy": {"name": "static"}}}) as trace:
        trace.begin([1], 5)
    with pytest.raises(
        TraceError, match=r"trace\.jsonl:2: the request does not say what the policy was shown"
    ):
        check(path, CATALOGUE)
    with TraceWriter(path, {"config": {"policy": {"name": "static"}, "state": "file"}}) as trace:
        trace.begin([1], 5)
    with pytest.raises(TraceError, match="leave out `state`"):
        check(path, CATALOGUE)
