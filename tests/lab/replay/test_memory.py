"""Memory does not grow with the number of rounds: replays run in processes that may not have more."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from paceline.core.plugins.catalogue import Catalogue
from paceline.lab.recording.model import Recording, TextSource
from paceline.lab.replay.choices import choose
from paceline.lab.replay.passes import Stage, Task
from paceline.lab.workloads.synthetic import Cell, made_up
from dataclasses import replace

texts, limit = int(sys.argv[1]), int(sys.argv[2])
base = made_up(Cell(0.12, "steady-0.5"), texts=1, tokens=1000)
(one,) = base

class Many(TextSource):
    def names(self): return [f"t/{n}" for n in range(texts)]
    def __getitem__(self, name): return replace(one, name=name)
    def __iter__(self): return (self[name] for name in self.names())

recording, catalogue = Recording(base.header, (), Many()), Catalogue.load()
stage = Stage(recording, catalogue)
chosen = choose(base.header, catalogue, ["static-0", "static-2", "aimd"])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
rounds = 0
for label, block in chosen.policies.items():
    done = stage.run(Task({label: block}, {}, "recorded", "warm", 0))
    assert done.failed is None, done.failed
    rounds = sum(one.totals.rounds for listed in done.passes.values() for one in listed)
    print(label, rounds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def run(texts, limit):
    done = subprocess.run(
        [sys.executable, "-Ic", PROGRAM, str(texts), str(limit)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return {
        line.split()[0]: [int(number) for number in line.split()[1:]] for line in done.stdout.splitlines()
    }


def test_ten_times_the_rounds_take_hardly_more_memory():
    few, many = run(10, 2 << 30), run(100, 2 << 30)
    assert many["static-0"][0] == 10 * few["static-0"][0] == 100_000
    # In kilobytes; 90 000 rounds of a kilobyte each would be 90 000 more.
    assert many["aimd"][1] - few["aimd"][1] < 20_000


@pytest.mark.slow
def test_a_million_rounds_replay_on_two_gigabytes():
    assert run(1000, 2 << 30)["static-0"][0] == 1_000_000
