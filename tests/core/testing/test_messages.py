"""Messages of the kits on a mistake: its cause, the line of the author's code, and what to do."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from paceline.core.base_policy import BasePolicy
from paceline.core.records import Plan, StopRule
from paceline.core.state.declared import PolicyState
from paceline.testing import check_policy

from .test_policies import DRAFTS, Gambling, NotFinite, Wavering
from .test_policy_states import Bookish, SecretHoarder


@dataclass
class Rate(PolicyState):
    rate: float = 0.5


class Sound(BasePolicy[Rate]):
    def __init__(self):
        super().__init__("sound", Rate())
        self.rounds = 0

    def plan(self, start):
        return Plan(start.gammas(4)[-1])

    def observe(self, done):
        pass


class NotANumberInARule(Sound):
    def plan(self, start):
        return Plan(start.gammas(4)[-1], stop=StopRule("top1", below=float("nan")))


class NoRule(Sound):
    def plan(self, start):
        return Plan(start.gammas(4)[-1], stop=0.5)


class Halves(Sound):
    def plan(self, start):
        return Plan(start.budget / 2)


class Misspelt(Sound):
    def observe(self, done):
        return done.accept


class Unsaved(Sound):
    def plan(self, start):
        return Plan(start.gammas(1 + self.rounds % 4)[-1])

    def observe(self, done):
        self.rounds += 1


class Wide(Sound):
    needs = frozenset({"top1"})

    def keep_drafting(self, signals):
        return signals.value("prob") > 0.5


def line_of(kind, word):
    """Return the place of the first line of a class's own code that has a word in it."""
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    first = lines.index(next(line for line in lines if line.startswith(f"class {kind.__name__}(")))
    return f"{__file__}:{next(number for number in range(first, len(lines)) if word in lines[number]) + 1}"


@pytest.mark.parametrize(
    ("policy", "cause", "remedy", "line"),
    [
        (Wavering, "changes drafts never", 'Requirements(draft_switch="request")', None),
        (NotFinite, "found inf at 'best'", "keep what observe() divides by", None),
        (NotANumberInARule, "found nan", "a threshold that is a finite number", "def plan"),
        (NoRule, "found 0.5", "a StopRule or None", "def plan"),
        (Halves, "gamma must be an int, found 0.0", "start.gammas(limit)", "def plan"),
        (Misspelt, "no attribute 'accept'", "", "done.accept"),
        (Gambling, "the shared generator of `random`", "the seed of build()", None),
        (Unsaved, "`rounds` is", "belongs in the state", "def plan"),
        (SecretHoarder, "most of it is in `seen`", "deque(maxlen=...)", None),
        (Bookish, "was kept after the round in `start`", "let it go", None),
        (Wide, "'prob' was not asked for", "the policy's `needs`", "signals.value"),
    ],
)
def test_a_mistake_in_a_policy_is_told_with_its_place_and_its_remedy(policy, cause, remedy, line):
    check_policy(Sound, drafts=DRAFTS, examples=5)
    with pytest.raises((AssertionError, AttributeError, ValueError)) as caught:
        check_policy(policy, drafts=DRAFTS, examples=20)
    notes = "\n".join(caught.value.__notes__)
    assert cause in str(caught.value)
    assert remedy in str(caught.value)
    assert f"in {policy.__name__} " in notes
    if line is not None:
        assert line_of(policy, line) in f"{caught.value}{notes}"


def test_the_rounds_before_a_mistake_are_told_in_the_words_of_rounds():
    with pytest.raises(AssertionError) as caught:
        check_policy(Unsaved, examples=20)
    story = next(note for note in caught.value.__notes__ if note.startswith("after these rounds"))
    assert "1 x budget" in story
    assert "and after a restart:" in story
    assert "Step(" not in story
