"""Entries of vLLM's additional configuration, and those refused before the first token."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
from structlog.testing import capture_logs

from paceline import CapabilityError, ConfigError
from paceline_vllm.engine import set_up
from paceline_vllm.options import EngineOptions, read_options


def start(config, tmp_path, **more):
    block = config.additional_config["paceline"]
    block.setdefault("status", str(tmp_path / "status.json"))
    setup = set_up(config, **{"table": (0, 4), "delay": 1, "about": {"target": "tiny"}, **more})
    setup.close()
    return setup


def test_a_policy_stands_by_its_name_or_as_a_block(configured, tmp_path):
    by_name = start(configured({"policy": "online"}), tmp_path)
    by_block = start(configured({"policy": {"name": "static", "gamma": 2}}), tmp_path)
    assert type(by_name.adapter.policy).__name__ == "OnlinePolicy"
    assert type(by_block.adapter.policy).__name__ == "StaticPolicy"


def test_a_run_file_gives_policy_seed_and_trace(configured, tmp_path):
    (tmp_path / "run.yaml").write_text(
        f"policy: {{name: thompson}}\ngeneration: {{seed: 5}}\ntrace: {tmp_path / 'rounds.jsonl'}\n",
        encoding="utf-8",
    )
    setup = start(configured({"config": str(tmp_path / "run.yaml")}), tmp_path)
    assert type(setup.adapter.policy).__name__ == "ThompsonPolicy"
    assert setup.trace is not None
    assert setup.trace.path == tmp_path / "rounds.jsonl"


def test_a_policy_that_stands_here_is_built_with_its_seed(engine):
    def gammas(seed):
        driver = engine("thompson", seed=seed)
        driver.agrees = lambda name, place: place % 3 != 0
        driver.add(max_tokens=60)
        driver.serve()
        return [output.num_spec_tokens_to_schedule for output in driver.outputs]

    assert gammas(1) == gammas(1)
    assert len({tuple(gammas(seed)) for seed in range(4)}) > 1


def test_a_wrong_run_file_is_told_as_paceline_tells_it(configured, tmp_path):
    (tmp_path / "run.yaml").write_text("policy: {name: online, windwo: 3}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"run\.yaml:1: .*did you mean 'window'"):
        start(configured({"config": str(tmp_path / "run.yaml")}), tmp_path)


def test_a_wrong_policy_that_stands_here_is_told_alike(configured, tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'online'"):
        start(configured({"policy": "onlin"}), tmp_path)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({}, "exactly one of `config` and `policy`"),
        ({"policy": "static", "config": "run.yaml"}, "exactly one of `config` and `policy`"),
        ({"polic": "static"}, "paceline.polic: unknown key; allowed: config, policy"),
        ({"policy": "static", "fallback_gamma": -1}, "paceline.fallback_gamma"),
        ({"policy": "static", "sync": "no.such:thing"}, "no.such:thing'.*write package.module:callable"),
        ({"policy": "static", "sync": "paceline:SIGNALS"}, "frozenset, nothing to call"),
    ],
    ids=str,
)
def test_options_that_are_wrong_are_refused(configured, tmp_path, block, message):
    with pytest.raises(ConfigError, match=message):
        start(configured(block), tmp_path)


@pytest.mark.parametrize("given", [None, {}, {"paceline": "online"}])
def test_an_engine_without_options_says_what_to_write(given):
    with pytest.raises(ConfigError, match=r'needs --additional-config .*"paceline": \{"policy": "online"\}'):
        read_options(given)


@pytest.mark.parametrize("line", ["scope: request", "state: known.json"])
def test_keys_that_mean_nothing_for_a_server_are_refused(configured, tmp_path, line):
    (tmp_path / "run.yaml").write_text(f"policy: static\n{line}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=f"`{line.partition(':')[0]}` has no meaning inside vLLM"):
        start(configured({"config": str(tmp_path / "run.yaml")}), tmp_path)


def test_an_engine_that_drafts_nothing_is_refused(configured, tmp_path):
    with pytest.raises(ConfigError, match="drafts nothing here: give --speculative-config"):
        start(configured({"policy": "static"}, speculative=False), tmp_path)


def test_proposers_of_ones_own_are_refused_since_they_are_not_told_gamma(configured, tmp_path):
    with pytest.raises(CapabilityError, match="custom_class"):
        start(configured({"policy": "static"}, method="custom_class"), tmp_path)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("adaedl", "stops drafting by entropy"),
        ({"name": "exp3spec", "arms": "gammas"}, "must act at once, here they act 1 rounds later"),
    ],
    ids=str,
)
def test_a_policy_that_needs_more_than_vllm_can_do_is_refused(configured, tmp_path, policy, message):
    with pytest.raises(CapabilityError, match=message):
        start(configured({"policy": policy}), tmp_path)


def test_a_policy_that_asks_for_more_than_is_drafted_is_told_of_in_the_log(engine):
    with capture_logs() as logs:
        engine({"name": "survival", "max_gamma": 8}, most=4)
        engine({"name": "survival", "max_gamma": 4}, most=4)
    (line,) = [line for line in logs if line["event"] == "policy_narrowed"]
    assert "gammas up to 8" in line["reason"]


@pytest.mark.parametrize(
    "policy", ["online", "survival", "thompson", "auto", "gammatune", "static", "schedule"]
)
def test_policies_of_ones_own_engine_run_unchanged(configured, tmp_path, policy):
    assert start(configured({"policy": policy}), tmp_path).fixed_plan is None


def test_what_shares_is_called_once_with_policy_lock_and_what_it_was_learnt_on(
    configured, tmp_path, monkeypatch
):
    called = []
    module = ModuleType("sharing_for_a_test")

    class Shared:
        closed = False

        def close(self):
            self.closed = True

    def share(policy, lock, info):
        called.append((policy, lock, info))
        return Shared()

    module.share = share
    monkeypatch.setitem(sys.modules, module.__name__, module)
    setup = start(configured({"policy": "survival", "sync": "sharing_for_a_test:share"}), tmp_path)
    ((policy, lock, info),) = called
    assert policy is setup.adapter.policy
    assert lock is setup.adapter.lock
    assert (info["target"], info["policy"]["name"], info["draft_name"]) == ("tiny", "survival", "vllm")
    setup.adapter.gammas.update([2, 2, 0])
    assert info["counts"]() == {"gamma/0": 1.0, "gamma/2": 2.0}
    assert setup.shared.closed


def test_where_rounds_are_shared_all_of_them_are_shown_unless_it_says_otherwise():
    assert EngineOptions(policy="static").rounds_shown() == 4
    assert EngineOptions(policy="static", sync="a:b").rounds_shown() is None
    assert EngineOptions(policy="static", sync="a:b", rounds_per_step=2).rounds_shown() == 2


def test_every_option_is_described_and_in_the_readme():
    text = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
    assert [
        name
        for name, field in EngineOptions.model_fields.items()
        if not field.description or f"| `{name}` |" not in text
    ] == []
