"""Under sampling no policy changes the distribution of the text; every way the dice fall is counted."""

import copy
from random import Random

import pytest

from paceline import policies
from paceline.core.records import SIGNALS
from paceline.core.testing.doubles import FixedCosts, ScriptedPolicy
from paceline.core.testing.playing import play

EXACT = 1e-12
BUILT_IN = {config.model_fields["name"].default: config for config in policies.register_policies()}


def seasoned(config):
    """Return a policy that has lived through a text before, so that it acts on what it has learnt."""
    random = Random(0)
    bits = {name: [random.random() < 0.8 for _ in range(60)] for name in ("drawing", "greedy")}
    policy = config().build(0)
    play(policy, bits, costs=FixedCosts(0.5, 10.0))
    return policy


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_first_three_tokens_are_distributed_as_the_targets_under_a_fresh_policy(name, tiny_pair, apart):
    policy = BUILT_IN[name]().build(0)
    found = tiny_pair.decoded(lambda: copy.deepcopy(policy), 3)
    assert apart(found, tiny_pair.alone(3)) < EXACT


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_first_three_tokens_are_distributed_as_the_targets_under_a_seasoned_policy(
    name, tiny_pair, apart
):
    policy = seasoned(BUILT_IN[name])
    found = tiny_pair.decoded(lambda: copy.deepcopy(policy), 3)
    assert apart(found, tiny_pair.alone(3)) < EXACT


def test_drawing_again_until_a_token_is_likely_would_be_found_out(tiny_pair, apart):
    class Redrawing:
        """Draws once more where the first token is not likely, which no policy can ask of a session."""

        signals = SIGNALS

        def __init__(self, draft):
            self._draft = draft

        def open(self, prompt):
            return self._draft.open(prompt)

        def open_sampled(self, prompt, sampling):
            session = self._draft.open_sampled(prompt, sampling)
            plain = session.draft

            def draft(gamma, control):
                first = plain(gamma, control)
                return first if first.draft_probs[0][first.tokens[0]] > 0.5 else plain(gamma, control)

            session.draft = draft
            return session

    drafts = {"drawing": lambda target: Redrawing(tiny_pair.drawing(target))}
    found = tiny_pair.decoded(lambda: ScriptedPolicy([1]), 3, drafts=drafts)
    assert apart(found, tiny_pair.alone(3)) > 0.01
