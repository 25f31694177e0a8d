"""The timing of the overhead times what it says: every part of a step, and no engine."""

import pytest

from paceline import load_config
from paceline.testing import ScriptedPolicy
from paceline_vllm.cli import main
from paceline_vllm.overhead import overhead_s


class Config:
    def __init__(self):
        self.made = None

    def build(self, seed):
        self.made = ScriptedPolicy([3])
        return self.made


def test_every_step_is_planned_and_as_many_rounds_as_asked_for_are_shown():
    config = Config()
    assert 0.0 < overhead_s(config, requests=6, steps=20, rounds_per_step=2) < 0.1
    assert len(config.made.starts) == 20
    assert {start.batch for start in config.made.starts} == {6}
    assert len(config.made.rounds) == 2 * 19  # the first step has nothing in force


def test_showing_more_rounds_takes_longer():
    policy = load_config({"policy": "survival"}).policy
    few, all_of_them = (
        overhead_s(policy, requests=64, steps=120, rounds_per_step=shown) for shown in (1, None)
    )
    assert all_of_them > 2 * few


def test_the_command_prints_a_line_for_each_policy(capsys):
    main(["overhead", "--policies", "static,online", "--requests", "3"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["static", "online"]
    assert all(line.endswith("us a step of 3 requests") for line in lines)


def test_an_option_nobody_knows_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["overhead", "--polices", "static"])
    assert "no option '--polices'" in capsys.readouterr().err
