"""The optimum where a draft's further choices are known: trees of a family, against replays of them."""

from dataclasses import replace

import pytest

from paceline.core.records import Plan
from paceline.core.testing.doubles import ScriptedPolicy
from paceline.lab.oracle.optimum import clairvoyant
from paceline.lab.oracle.trees import DEEPEST, NODES
from paceline.lab.replay.run import replay_policies
from paceline.lab.replay.simulator import Simulator
from paceline.lab.workloads.synthetic import CHOICES, made_up_recording

CELLS = ("trees-flat", "trees-steep")


def seconds_of(recording, text, policy):
    return Simulator(recording.header, policy).play(text).seconds


@pytest.mark.parametrize("cell", CELLS)
def test_what_the_optimum_chooses_takes_what_it_says(cell):
    recording = made_up_recording(cell, texts=2, tokens=120)
    for text in recording:
        optimum = clairvoyant(text, recording.header)
        assert optimum.exact
        assert sum(each.seconds for each in optimum.choices) == pytest.approx(optimum.seconds)
        plans = [Plan(each.gamma, nodes=each.nodes, width=each.width) for each in optimum.choices]
        assert seconds_of(recording, text, ScriptedPolicy(plans)) == pytest.approx(optimum.seconds)


@pytest.mark.parametrize("cell", CELLS)
def test_no_tree_of_the_family_and_no_policy_takes_less(cell):
    recording = made_up_recording(cell, texts=1, tokens=150)
    (text,) = recording
    optimum = clairvoyant(text, recording.header)
    names = ["auto", "tree-online", "static-3"]
    names += [
        f"static:gamma={depth}:nodes={nodes}:width={width}"
        for depth in (1, 3, DEEPEST)
        for nodes in NODES
        for width in (2, len(CHOICES))
        if nodes >= depth
    ]
    for each in replay_policies(recording, names):
        assert each.seconds >= optimum.seconds - 1e-9


def test_trees_bring_the_optimum_down_where_passes_are_flat():
    for cell, least in zip(CELLS, (1.15, 1.0), strict=True):
        recording = made_up_recording(cell, texts=1, tokens=150)
        (text,) = recording
        chains = replace(text, drafts={"draft": replace(text.drafts["draft"], ranks=None)})
        alone = clairvoyant(chains, recording.header).seconds
        assert alone >= least * clairvoyant(text, recording.header).seconds
