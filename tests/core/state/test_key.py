"""Keys that knowledge is kept under."""

import pytest

from paceline import load_config
from paceline.backends.prompt_lookup import PromptLookup
from paceline.backends.toy import ToyTarget
from paceline.core.state.key import StateKey, policy_name


@pytest.mark.parametrize(
    ("policy", "name"),
    [
        ("online", "online"),
        ({"name": "online", "window": 5}, "online"),
        ({"name": "online", "draft": "small"}, "online(draft=small)"),
        (
            {"name": "gate", "policy": {"name": "restart-cost", "policy": "thompson"}},
            "gate(restart-cost(thompson))",
        ),
    ],
)
def test_a_policy_is_named_with_those_it_holds_and_the_draft_it_is_bound_to(policy, name):
    assert policy_name(load_config({"policy": policy}).policy) == name


def test_what_says_nothing_of_itself_is_known_by_its_block_of_the_run_file():
    class Silent:
        pass

    config = load_config({"target": {"backend": "toy", "seed": 5}, "drafts": {"a": "toy"}})
    about = StateKey.of_run(config, Silent(), {"a": PromptLookup()}).about
    assert '"seed": 5' in about["target"]
    assert about["drafts"] == [["a", "prompt-lookup, 1 to 3 tokens"]]


def test_the_key_is_the_same_in_every_process_and_another_on_another_machine(monkeypatch):
    config = load_config({"target": "toy", "drafts": {"a": "toy"}})
    parts = ToyTarget(), {"a": PromptLookup()}
    here = StateKey.of_run(config, *parts)
    assert here == StateKey.of_run(config, *parts)
    assert here.name.startswith("auto-")
    monkeypatch.setattr("paceline.core.state.key.cpu_model", lambda: "another one")
    assert StateKey.of_run(config, *parts).name != here.name
