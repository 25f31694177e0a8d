"""Behaviour of any policy with numbers in a saved state that nobody can have counted: it refuses them, or works on."""

import copy
import json

import pytest

from paceline import policies
from paceline.core.config.load import load_config
from paceline.core.errors import ConfigError
from paceline.core.plugins.catalogue import Catalogue
from paceline.core.state.checkpoint import SavedState

BUILT_IN = {config.model_fields["name"].default: config for config in policies.register_policies()}
TOY = {
    "target": {"backend": "toy", "seed": 3},
    "drafts": {"good": {"backend": "toy", "agreement": 0.8}, "lookup": {"backend": "prompt-lookup"}},
}
UNCOUNTED = (1e308, 10**30, 1e12, -1.0, [], "1", None)
PLACES = 12
"""Of a state that are tried, spread over all of it."""


def places(node, above=()):
    """Yield the paths to all values of a state that hold no others."""
    inside = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else None
    if inside is None:
        yield above
        return
    for key, value in inside:
        yield from places(value, (*above, key))


def changed(state, place, value):
    state = copy.deepcopy(state)
    node = state
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    return state


@pytest.fixture(scope="module")
def catalogue():
    return Catalogue.load()


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_number_that_nobody_can_have_counted_is_refused_or_harmless(name, catalogue):
    decoder = load_config(TOY | {"policy": name}, catalogue=catalogue).build()
    expected = decoder.generate("the rain", max_new_tokens=12).tokens
    state = json.loads(json.dumps(decoder.policy.state_dict()))
    listed = list(places(state))
    for number, place in enumerate(listed[:: max(1, len(listed) // PLACES)]):
        other = load_config(TOY | {"policy": name}, catalogue=catalogue).build()
        try:
            SavedState(changed(state, place, UNCOUNTED[number % len(UNCOUNTED)])).restore(other.policy)
        except ValueError:
            continue
        assert other.generate("the rain", max_new_tokens=12).tokens == expected, place


@pytest.mark.parametrize("name", BUILT_IN)
def test_an_option_that_would_take_any_amount_of_memory_is_refused(name, catalogue):
    for option in BUILT_IN[name].model_fields:
        for value in (2**62, 1e29):
            try:
                config = load_config(TOY | {"policy": {"name": name, option: value}}, catalogue=catalogue)
            except ConfigError:
                continue
            decoder = config.build()
            assert len(decoder.generate("the rain", max_new_tokens=12).tokens) == 12
