"""Policies whose state is declared: what is saved comes back, and what does not fit changes nothing."""

import json
from collections import defaultdict, deque
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Annotated

import pytest
from pydantic import Field

from paceline.core.base_policy import BasePolicy, MergeablePolicy
from paceline.core.optional_protocols import Mergeable, Shareable
from paceline.core.records import Plan
from paceline.core.state.declared import Amount, Count, Fixed, PolicyState, Share, Summed, Unsaved
from paceline.core.testing.policies import check_policy


@dataclass(slots=True)
class Tally(PolicyState):
    """Counts of one draft."""

    size: Unsaved[int]
    counts: Summed[list[Amount]] = field(init=False)
    seen: Count = 0

    def __post_init__(self):
        self.counts = [0.0] * self.size

    def check(self):
        if self.seen > 1000:
            raise ValueError("seen too often")


@dataclass(slots=True)
class Knowledge(PolicyState):
    drafts: Summed[defaultdict[str, Tally]]
    gammas: Fixed[tuple[int, ...]]
    recent: deque[tuple[Count, bool]]
    random: Random | None
    rate: Share = 0.5
    gamma: Annotated[int, Field(ge=1)] = 2
    last: str | None = None
    heard: set[str] = field(default_factory=set)


class Learner(MergeablePolicy[Knowledge]):
    def __init__(self, size=3, *, gammas=(1, 2), random=True):
        tallies = defaultdict(partial(Tally, size))
        recent = deque(maxlen=4)
        super().__init__("learner", Knowledge(tallies, gammas, recent, Random(1) if random else None))
        self.refreshed = 0

    def plan(self, start):
        return Plan(start.gammas(self.state.gamma)[-1])

    def observe(self, done):
        state = self.state
        if done.drafted:
            state.drafts[done.plan.draft].counts[min(done.accepted, 2)] += 1.0
            state.drafts[done.plan.draft].seen += 1
            state.heard.add(done.plan.draft)
            state.last = done.plan.draft
        state.recent.append((done.accepted, done.rejected))
        state.rate = 0.5 * state.rate + 0.5 * (state.random.random() if state.random else 0.0)

    def refresh(self):
        self.refreshed += 1


def taught():
    policy = Learner()
    policy.state.drafts["a/b"].counts[1] = 2.5
    policy.state.drafts["a/b"].seen = 7
    policy.state.recent.extend([(1, True), (2, False)])
    policy.state.last = "a/b"
    policy.state.heard |= {"z", "a"}
    policy.state.random.random()
    return policy


def test_the_contract_is_kept():
    check_policy(Learner)


def test_what_is_saved_is_plain_and_comes_back():
    policy, other = taught(), Learner()
    state = policy.state_dict()
    assert state | {"random": None} == {
        "policy": "learner",
        "version": 1,
        "drafts": {"a/b": {"counts": [0.0, 2.5, 0.0], "seen": 7}},
        "gammas": [1, 2],
        "recent": [[1, True], [2, False]],
        "random": None,
        "rate": 0.5,
        "gamma": 2,
        "last": "a/b",
        "heard": ["a", "z"],
    }
    other.load_state_dict(json.loads(json.dumps(state)))
    assert other.state_dict() == state
    assert other.refreshed == 1
    assert other.state.recent.maxlen == 4
    assert other.state.drafts["new"].counts == [0.0, 0.0, 0.0]
    assert other.state.random.random() == policy.state.random.random()


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        ({"version": 2}, "expected the state of policy 'learner', version 1"),
        ({"version": True}, "version True"),
        ({"policy": "else"}, "found policy 'else'"),
        ({"rate": 1.5}, "rate is 1.5"),
        ({"rate": None}, "rate is None"),
        ({"rate": float("nan")}, "rate is nan"),
        ({"rate": True}, "rate is True"),
        ({"gamma": 0}, "gamma is 0"),
        ({"gamma": 2.0}, "gamma is 2.0"),
        ({"drafts": {"a": {"counts": [0.0] * 3, "seen": 10**13}}}, r"drafts\.a\.seen is 10000000000000"),
        ({"gammas": [1, 2, 3]}, r"its gammas is \[1, 2, 3\], that of this policy \[1, 2\]"),
        ({"recent": [[1, True], [-1, True]]}, r"recent\.1\.0 is -1"),
        ({"recent": "x"}, "recent is 'x'"),
        ({"random": None}, "random is None"),
        ({"random": [3, [1], None]}, "random is"),
        ({"drafts": []}, "drafts is"),
        ({"drafts": {"a": {"counts": [0.0], "seen": 1}}}, r"drafts\.a\.counts has 1 items, not 3"),
        ({"drafts": {"a": {"counts": [0.0] * 3}}}, r"it has no drafts\.a\.seen"),
        ({"drafts": {"a": {"counts": [0.0] * 3, "seen": 1001}}}, "seen too often"),
        ({"heard": [1]}, r"heard\.0 is 1"),
        ({"last": object()}, "last is <object"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(damage, problem):
    policy = taught()
    before = policy.state_dict()
    with pytest.raises(ValueError, match=problem):
        policy.load_state_dict(before | damage)
    assert policy.state_dict() == before
    assert policy.refreshed == 0


def test_a_policy_that_draws_nothing_saves_no_generator():
    policy = Learner(random=False)
    policy.load_state_dict(policy.state_dict())
    with pytest.raises(ValueError, match="random is"):
        policy.load_state_dict(taught().state_dict())


def test_sums_are_exported_by_their_paths_and_add_up():
    policy, other = taught(), taught()
    assert isinstance(policy, Mergeable)
    assert isinstance(policy, Shareable)
    assert policy.export() == {"a%2Fb/1": 2.5}
    other.absorb({"a%2Fb/1": 1.0, "c/2": 4.0})
    assert other.export() == {"a%2Fb/1": 3.5, "c/2": 4.0}
    assert other.state.drafts["a/b"].seen == 7
    assert policy.export() == {"a%2Fb/1": 2.5}


def test_a_group_takes_the_place_of_the_sums_alone():
    policy = taught()
    policy.replace({"c/0": 1.0})
    assert policy.export() == {"c/0": 1.0}
    assert policy.state.last == "a/b"
    policy.replace({})
    assert policy.export() == {}


@pytest.mark.parametrize(
    "statistics",
    [
        {"a/3": 1.0},
        {"a/-1": 1.0},
        {"a": 1.0},
        {"a/1/2": 1.0},
        {"drafts/a/seen": 1.0},
        {"drafts": 1.0},
        {"rate": 1.0},
        {"": 1.0},
        {"a/1": -1.0},
        {"a/1": float("nan")},
        {"a/1": True},
        {"a/1": 1e13},
    ],
)
@pytest.mark.parametrize("take", ["absorb", "replace"])
def test_statistics_that_do_not_fit_are_refused_and_change_nothing(take, statistics):
    policy = taught()
    before = policy.state_dict()
    with pytest.raises(ValueError, match="statistic"):
        getattr(policy, take)({"a/0": 1.0} | statistics)
    assert policy.state_dict() == before


@dataclass
class Nothing(PolicyState):
    pass


class Holder(BasePolicy[Nothing]):
    def __init__(self, *policies):
        super().__init__("holder", Nothing())
        self.policies = policies

    def plan(self, start):
        return self.policies[0].plan(start)

    def held(self):
        return {str(i): policy for i, policy in enumerate(self.policies)}


def test_the_states_of_policies_held_are_loaded_together_or_not_at_all():
    one, two = Holder(taught(), taught()), Holder(Learner(), Learner(gammas=(3,)))
    state = one.state_dict()
    before = two.state_dict()
    with pytest.raises(ValueError, match="gammas"):
        two.load_state_dict(state)
    assert two.state_dict() == before
    with pytest.raises(ValueError, match="holds"):
        Holder(Learner()).load_state_dict(state)
    with pytest.raises(ValueError, match="damaged"):
        two.load_state_dict(state | {"held": {"0": state["held"]["0"], "1": []}})
    assert two.state_dict() == before
    three = Holder(Learner(), Learner())
    three.load_state_dict(state)
    assert three.state_dict() == state


def test_a_policy_without_sums_is_not_mergeable():
    assert not isinstance(Holder(Learner()), Mergeable)
