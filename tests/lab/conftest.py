"""A small made-up replay, played by the plainest player there is, with what is known of its recording."""

import random
from dataclasses import replace
from types import SimpleNamespace

import pytest

from paceline.core.generation import Totals
from paceline.lab.hindsight import Hindsight
from paceline.lab.oracle.optimum import Optimum
from paceline.lab.replay.static_gamma import StaticGamma
from paceline.lab.report.build import Positions, Prices, build_report
from paceline.lab.report.timelines import Step, Timeline
from paceline.lab.results import Measurement, Results
from paceline.lab.validation import Prediction

PLAIN, TOKEN, SLOPE, LOOP = 0.010, 0.0012, 0.0004, 0.0001
KINDS = {"code": 0.85, "prose": 0.55, "lists": 0.7}


def verify_s(length):
    return PLAIN + SLOPE * (length - 1)


def run_ahead(bits, start, most):
    found = 0
    while found < most and start + found < len(bits) and bits[start + found]:
        found += 1
    return found


def play(text, decide):
    """Return the outcome and the rounds of one text; `decide` is shown the last round and what is left."""
    name, kind, bits = text
    place, steps, last = 0, [], None
    while place < len(bits):
        gamma = min(decide(last, place, bits), len(bits) - place - 1)
        accepted = run_ahead(bits, place, gamma)
        steps.append(Step(place, gamma, accepted, accepted + 1, "small" if gamma else ""))
        place += accepted + 1
        last = steps[-1]
    draft_s, verify = sum(one.gamma for one in steps) * TOKEN, sum(verify_s(one.gamma + 1) for one in steps)
    most = max(one.gamma for one in steps)
    gammas = [one.gamma for one in steps]
    seconds = draft_s + verify + LOOP * len(steps)
    totals = Totals(
        rounds=len(steps), drafted=sum(gammas), accepted=sum(one.accepted for one in steps), emitted=len(bits),
        seconds=seconds, draft_s=draft_s, verify_s=verify,
        gammas={gamma: gammas.count(gamma) for gamma in sorted(set(gammas))},
        drafts={"small": sum(map(bool, gammas)), "": gammas.count(0)},
        reached=[sum(one.accepted >= k and one.gamma > k for one in steps) for k in range(most)],
        agreed=[sum(one.accepted > k for one in steps) for k in range(most)],
    )  # fmt: skip
    return steps, Measurement("", name, kind, kind != "lists", seconds, totals)


def up_and_down(last, place, bits):
    if last is None or place == 0:
        return 3
    return min(last.gamma + 2, 8) if last.accepted == last.gamma else max(1, last.accepted + 1)


def oracle(last, place, bits):
    ahead = run_ahead(bits, place, 8)
    return ahead if ahead * (PLAIN + LOOP) > ahead * (TOKEN + SLOPE) else 0


def made_up(texts=12, tokens=96, seed=0):
    draw = random.Random(seed)
    kinds = [*KINDS]
    return [
        (f"{kind}/{number}", kind, [draw.random() < KINDS[kind] for _ in range(tokens)])
        for number in range(texts)
        for kind in [kinds[number % len(kinds)]]
    ]


class Given(Hindsight):
    """Reference times that are given by number."""

    def __init__(self, statics, optima):
        self._given_statics, self._given_optima = statics, optima

    def names(self):
        return ()

    first_draft = "small"

    def statics(self, text, draw=None):
        return {
            StaticGamma(gamma, "small" if gamma else None): each[text]
            for gamma, each in self._given_statics.items()
        }

    def optimum(self, text, draw=None):
        return self._given_optima[text]


def check(block, predicted, measured):
    """Return a prediction of so many tokens a second."""
    return Prediction(block, 12, 1200, 1200 / predicted, 1200 / measured)


def sample(texts=12, seed=0, names=("aimd", "gate")):
    """Return texts, results on them, hindsight, and the report with all that it can show."""
    listed = made_up(texts, seed=seed)
    policies = {
        f"static-{gamma}": ({"name": "static", "gamma": gamma}, lambda *_, gamma=gamma: gamma)
        for gamma in range(7)
    }
    policies[names[0]] = ({"name": "aimd"}, up_and_down)
    policies[names[1]] = (
        {"name": "gate", "policy": {"name": "aimd"}}, lambda *now: up_and_down(*now) if now[1] % 7 else 0
    )  # fmt: skip
    results = Results(
        {"path": "runs/recording.jsonl.zst", "sha256": "0" * 64},
        {label: options for label, (options, _) in policies.items()},
        {"tapout": "needs entropy, which was not recorded"},
    )
    for order, start, rows in (
        ("shuffled", "warm", random.Random(1).sample(listed, len(listed))),
        ("by-kind", "warm", sorted(listed, key=lambda text: text[1])),
        ("recorded", "cold", listed),
    ):
        for label, (_, decide) in policies.items():
            results.append(
                *(replace(play(text, decide)[1], policy=label, order=order, start=start) for text in rows)
            )
    best = {text[0]: play(text, oracle) for text in listed}
    hindsight = Given(
        {
            gamma: {text[0]: play(text, lambda *_, gamma=gamma: gamma)[1].seconds for text in listed}
            for gamma in range(7)
        },
        {name: Optimum(name, one.seconds, True, ()) for name, (_, one) in best.items()},
    )
    report = replace(
        build_report(results, hindsight=hindsight),
        timelines=[
            Timeline(text[0], text[1], "chosen by the test", play(text, up_and_down)[0], best[text[0]][0], 1.2)
            for text in listed[:3]
        ],
        positions=[Positions("small", [400, 280, 190, 130, 88, 60, 41, 22], [280, 190, 130, 88, 60, 41, 22, 15]),
                   Positions("lookup", [200, 90, 60, 44, 36, 31, 12, 5], [90, 60, 44, 36, 31, 12, 5, 4])],
        checks=[check({"name": "static", "gamma": 3}, 118.0, 120.0), check({"name": "aimd"}, 131.0, 129.0)],
        prices=Prices(
            {length: verify_s(length) for length in (1, 2, 4, 8)},
            {"small": {gamma: TOKEN * gamma for gamma in (1, 2, 4, 8)}, "lookup": {0: 1e-5, 4: 3e-5, 8: 4e-5}},
            {"small": {0: 0.0, 8: 0.002}}, 128, 1e-6, LOOP,
        ),
        machine={"cpu": "Example CPU", "python": "3.12"},
        source={"recording": "runs/recording.jsonl.zst", "sha256": "0" * 64, "command": "paceline report"},
    )  # fmt: skip
    return SimpleNamespace(results=results, hindsight=hindsight, texts=listed, report=report)


@pytest.fixture(scope="session")
def made():
    """Return what makes samples."""
    return sample


@pytest.fixture(scope="session")
def predicted():
    """Return what makes predictions."""
    return check


@pytest.fixture(scope="session")
def found():
    """Return the report of the usual sample."""
    return sample().report
