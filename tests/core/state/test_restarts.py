"""Knowledge of one decoder is known to the next one: `state:` in a run file, from end to end."""

import json
import os

import pytest
from structlog.testing import capture_logs

import paceline
from paceline.core.errors import ConfigError, ContractError
from paceline.testing import ScriptedPolicy


@pytest.mark.parametrize("policy", ["online", "thompson", "gate"])
def test_the_next_decoder_goes_on_exactly_where_the_last_one_was_closed(kept, policy):
    before = kept.learn(policy=policy)
    assert kept.load(policy=policy).policy.state_dict() == before.state_dict()
    assert before.state_dict() != kept.config(policy=policy).policy.build().state_dict()


def test_nothing_is_written_before_the_decoder_is_closed_nor_when_nothing_was_learnt(kept):
    decoder = kept.load()
    decoder.close()
    assert not kept.path.exists()
    decoder.generate("the rain")
    assert not kept.path.exists()
    decoder.close()
    assert kept.path.exists()


def test_a_decoder_may_be_closed_twice_and_go_on_in_between(kept):
    decoder = kept.load(policy="thompson")
    for _ in range(2):
        decoder.generate("the rain")
        decoder.close()
        decoder.close()
    assert kept.entry()["statistics"] == decoder.policy.export()


def test_what_was_learnt_is_kept_when_the_block_is_left_by_an_exception(kept):
    def interrupt(_done):
        raise KeyboardInterrupt

    decoder = kept.load()
    with pytest.raises(KeyboardInterrupt), decoder:
        decoder.generate("the rain", on_round=interrupt)
    assert kept.load().policy.state_dict() == decoder.policy.state_dict()
    assert kept.entry()["state"]["rounds"]


@pytest.mark.parametrize(
    "other",
    [
        {"policy": "thompson"},
        {"policy": {"name": "gate", "policy": "thompson"}},
        {"policy": {"name": "online", "draft": "small"}},
        {"target": {"backend": "toy", "seed": 4}},
        {"drafts": {"small": {"backend": "toy", "agreement": 0.6}}},
        {"drafts": {"other": {"backend": "toy", "agreement": 0.7}}},
        {"drafts": {"small": {"backend": "toy", "agreement": 0.7}, "lookup": "prompt-lookup"}},
    ],
)
def test_other_models_drafts_and_policies_share_the_file_and_nothing_else(kept, other):
    kept.learn()
    first = kept.entry()
    fresh = kept.config(**other).policy.build()
    assert kept.load(**other).policy.state_dict() == fresh.state_dict()
    kept.learn(**other)
    assert len(kept.entries()) == 2
    assert first in kept.entries().values()


def test_the_order_of_the_drafts_counts_since_the_first_one_is_the_default(kept):
    drafts = {"small": {"backend": "toy"}, "lookup": {"backend": "prompt-lookup"}}
    kept.learn(drafts=drafts)
    kept.learn(drafts=dict(reversed(drafts.items())))
    assert len(kept.entries()) == 2


def test_knowledge_outlives_options_unless_the_policy_refuses(kept):
    before = kept.learn()
    after = kept.load(policy={"name": "online", "max_gamma": 3, "window": 50}).policy
    assert after.state_dict() == before.state_dict()


def test_where_a_state_does_not_fit_new_options_the_statistics_may(kept):
    with kept.load(policy="thompson") as decoder:
        decoder.generate("the rain")
        # How deep it drafts hangs on the times of this machine; this is deep on every one.
        decoder.policy.absorb({"small/9/accepted": 2.0})
    before = decoder.policy.export()
    with capture_logs() as logs:
        after = kept.learn(policy={"name": "thompson", "max_gamma": 4})
    assert logs == []
    assert {name for name in after.export() if int(name.split("/")[1]) > 3} == set()
    deep = {name: count for name, count in before.items() if int(name.split("/")[1]) > 3}
    assert deep
    assert deep.items() <= kept.entry()["statistics"].items()


class Sized(ScriptedPolicy):
    """Refuses the state of another size."""

    def __init__(self, size):
        super().__init__([size])
        self._size = size

    def state_dict(self):
        return {"version": 1, "size": self._size, "rounds": len(self.rounds)}

    def load_state_dict(self, state):
        if state["size"] != self._size:
            raise ValueError(f"the saved state is of size {state['size']}, not {self._size}")


class SizedConfig(paceline.PolicyConfig):
    name: str = "sized"
    size: int

    def build(self, seed=0):
        return Sized(self.size)


def test_a_state_that_is_refused_for_new_options_is_set_aside_before_it_is_replaced(kept):
    kept.learn(policy=SizedConfig(size=2))
    old = kept.entry()
    with capture_logs() as logs:
        kept.learn(policy=SizedConfig(size=3))
        kept.learn(policy=SizedConfig(size=3))
    assert [(log["event"], log["reason"]) for log in logs] == [
        ("state_refused", "the saved state is of size 2, not 3")
    ]
    assert [json.loads(text) for text in kept.refused()] == [old]
    assert kept.entry()["state"]["size"] == 3


def test_each_request_starts_from_what_all_requests_learnt(kept):
    decoder = kept.load(scope="request", policy="thompson")
    decoder.generate("the rain")
    first = decoder.policy
    once = kept.entry()
    assert once["state"] == first.state_dict()
    decoder.generate("the rain")
    assert decoder.policy is not first
    assert kept.entry()["state"] == decoder.policy.state_dict()
    assert decoder.policy.export() != first.export()
    decoder.close()


def test_requests_that_overlap_add_up(kept):
    run = kept.config(scope="request", policy={"name": "thompson", "discount": 1.0})
    decoder = run.build(interleaved=True)
    rounds = decoder.rounds("the rain")
    next(rounds)
    early = decoder.policy
    decoder.generate("in spain")
    late = decoder.policy.export()
    for _ in rounds:
        pass
    both = {
        name: early.export().get(name, 0) + late.get(name, 0) for name in early.export().keys() | late.keys()
    }
    assert kept.entry()["statistics"] == pytest.approx(both)
    assert "state" not in kept.entry()


def test_an_abandoned_request_leaves_what_it_learnt(kept):
    decoder = kept.load(scope="request")
    rounds = decoder.rounds("the rain")
    next(rounds)
    rounds.close()
    assert kept.entry()["state"] == decoder.policy.state_dict()


def test_the_file_is_relative_to_where_the_program_runs(kept, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with kept.load(state="here.db") as decoder:
        decoder.generate("a")
    assert (tmp_path / "here.db").exists()


def test_a_file_that_cannot_be_written_costs_a_warning_and_no_text(kept):
    with capture_logs() as logs, kept.load() as decoder:
        kept.path.mkdir(parents=True)
        assert len(decoder.generate("the rain").tokens) == 60
    assert [log["event"] for log in logs] == ["state_not_saved"]
    assert all(log["file"] == os.path.realpath(kept.path) for log in logs)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_regular_file_is_refused_at_once_and_stays(kept, make):
    kept.path.parent.mkdir()
    make(kept.path)
    before = kept.path.stat()
    with pytest.raises(ConfigError, match=r"state: .*state\.db: is a "):
        kept.load()
    assert os.path.samestat(before, kept.path.stat())


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_takes_the_place_of_a_file_meanwhile_is_left_there(kept, make):
    kept.learn()
    decoder = kept.load()
    decoder.generate("in spain")
    kept.path.unlink()
    make(kept.path)
    before = kept.path.stat()
    with capture_logs() as logs:
        decoder.close()
    assert [log["event"] for log in logs] == ["state_not_saved"]
    assert os.path.samestat(before, kept.path.stat())


def test_a_policy_whose_state_is_no_json_is_blamed_before_the_first_token(kept):
    class Odd(ScriptedPolicy):
        def state_dict(self):
            return {"version": 1, "seen": {1, 2}}

    class OddConfig(paceline.PolicyConfig):
        name: str = "odd"

        def build(self, seed=0):
            return Odd([2])

    with pytest.raises(ContractError, match=r"Odd.*its state cannot be saved"):
        kept.load(policy=OddConfig())


def test_costs_are_kept_beside_what_the_policy_learnt(kept):
    with kept.load() as decoder:
        decoder.generate("the rain")
        known = decoder.costs.state_dict()
    assert kept.entry()["costs"] == known
    assert kept.load().costs.state_dict()["verify"]["lengths"].keys() == known["verify"]["lengths"].keys()


def test_damaged_costs_cost_a_warning_and_no_text(kept):
    kept.learn()
    entry = kept.entry() | {"costs": {"version": 1, "verify": 3, "drafts": {}}}
    kept.write(kept.key(), json.dumps(entry))
    known = entry["state"]
    with capture_logs() as logs, kept.load() as decoder:
        assert decoder.policy.state_dict() == known
    assert [log["event"] for log in logs] == ["costs_refused"]
