"""Comparisons are what their formulas say, and follow from what cannot be otherwise."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_recordings import lab_recordings

from paceline.core.errors import ConfigError, TraceError
from paceline.core.generation import Totals
from paceline.core.testing.doubles import ChaoticPolicy
from paceline.lab.comparison import compare
from paceline.lab.figures import ALL, LOOPING, VARYING
from paceline.lab.hindsight import Hindsight
from paceline.lab.oracle.optimum import Optimum
from paceline.lab.replay.simulator import Simulator
from paceline.lab.replay.static_gamma import PLAIN, StaticGamma
from paceline.lab.replay.texts import Brief, drawn, ordered, text_at
from paceline.lab.results import Measurement, Results
from paceline.policies.static import StaticConfig

A, B = StaticGamma(1, "a"), StaticGamma(4, "a")
STATIC_0 = {"name": "static", "gamma": 0}


class Given(Hindsight):
    """Reference times that are given by number."""

    def __init__(self, **times):
        self.times = times

    def names(self):
        return ()

    first_draft = "a"

    def statics(self, text, draw=None):
        return self.times[text]["statics"]

    def segmented_s(self, text, draw=None):
        return self.times[text]["segmented"]

    def optimum(self, text, draw=None):
        return Optimum(text, self.times[text]["best"], True, ())

    def expected_s(self, text, draw=None):
        return self.times[text]["best"] + 1.0


def times(plain=10.0, a=8.0, b=9.0, best=4.0, segmented=7.0):
    return {"statics": {PLAIN: plain, A: a, B: b}, "best": best, "segmented": segmented}


def measured(text, seconds, kind="code", tokens=10, rounds=5, varies=True, **keys):
    totals = Totals(rounds=rounds, emitted=tokens, seconds=seconds)
    return Measurement("mine", text, kind, varies, seconds, totals, **keys)


def results(hindsight, *measurements):
    """Return the measurements, with plain decoding as the hindsight have it."""
    made = Results(options={"static-0": STATIC_0, "mine": {"name": "mine"}})
    for one in measurements:
        seconds = hindsight.statics(one.text)[PLAIN]
        plain = Totals(rounds=one.tokens, emitted=one.tokens, seconds=seconds)
        made.append(replace(one, policy="static-0", seconds=seconds, totals=plain))
    made.append(*measurements)
    return made


def compared(hindsight, *measurements):
    return compare(results(hindsight, *measurements), hindsight=hindsight, regret=True)


def test_every_number_is_what_its_formula_says():
    hindsight = Given(x=times(), y=times(plain=20.0, a=18.0, b=12.0, best=6.0, segmented=11.0))
    comparison = compared(hindsight, measured("x", 6.0), measured("y", 12.0, tokens=30, rounds=10))
    figures = comparison.row("mine").all

    assert (figures.texts, figures.tokens, figures.regret.exact) == (2, 40, True)
    assert (figures.seconds, figures.plain_s) == (18, 30)
    assert comparison.best_static.label == "static-4"  # b is best for both together
    assert figures.speedup.value == pytest.approx(30 / 18)
    assert figures.over_static.value == pytest.approx(21 / 18)
    assert figures.regret.over_tuned.value == pytest.approx((9 + 18) / 18)  # given what is best for the other
    assert figures.oracle.value == pytest.approx(30 / 10)
    assert figures.regret.oracle_expected.value == pytest.approx(30 / 12)
    assert figures.captured.value == pytest.approx((30 - 18) / (30 - 10))
    assert figures.captured_static.value == pytest.approx((21 - 18) / (21 - 10))
    assert figures.regret.oracle_s == pytest.approx((18 - 10) / 40)
    assert figures.regret.static_s == pytest.approx((18 - 8 - 12) / 40)
    assert figures.regret.dynamic_s == pytest.approx((18 - 7 - 11) / 40)
    assert figures.accepted_tokens == pytest.approx(40 / 15)
    assert figures.spec_bench == pytest.approx((10 / 6 + 30 / 12) / (10 / 10 + 30 / 20))
    assert comparison.lost("mine") == pytest.approx([2.0, 8.0])


def test_a_text_counts_with_the_median_of_its_repeats_and_the_mean_of_seeds():
    seconds = {(0, 0): 1.0, (0, 1): 9.0, (0, 2): 2.0, (1, 0): 4.0}
    made = results(
        Given(x=times()), *(measured("x", each, seed=seed, repeat=n) for (seed, n), each in seconds.items())
    )

    assert compare(made).times["mine"]["x"] == (10, 3.0)


def test_only_texts_that_both_finished_are_compared():
    hindsight = Given(**{name: times() for name in "xyz"})
    made = results(hindsight, *(measured(name, 5.0) for name in "xyz"))
    made.append(replace(measured("x", 2.0), policy="other"))
    comparison = compare(made)

    assert comparison.row("other").all.texts == 1
    assert comparison.row("other").all.speedup.value == pytest.approx(5.0)
    assert comparison.speedup("other", "mine").value == pytest.approx(2.5)


def test_texts_that_vary_and_kinds_are_compared_apart():
    hindsight = Given(**{name: times() for name in "xyz"})
    listed = [
        measured("x", 5.0),
        measured("y", 6.0, "prose"),
        measured("z", 7.0, "prose", varies=False),
    ]
    row = compared(hindsight, *listed).row("mine")
    assert {name: one.texts for name, one in row.groups.items()} == {ALL: 3, VARYING: 2, LOOPING: 1}
    assert {name: one.texts for name, one in row.kinds.items()} == {"code": 1, "prose": 2}
    switching = compared(hindsight, *(replace(one, order="switching") for one in listed))
    assert switching.row("mine").kinds == {}


def test_the_order_of_the_texts_changes_no_interval():
    hindsight = Given(**{f"t{number}": times() for number in range(8)})
    listed = [measured(f"t{number}", 5.0 + number % 3) for number in range(8)]
    one, other = (compared(hindsight, *each).row("mine").all for each in (listed, listed[::-1]))
    assert one == other
    assert one.speedup.low < one.speedup.value < one.speedup.high


def test_where_nothing_can_be_saved_no_share_of_it_is_told():
    figures = compared(Given(x=times(plain=4.0)), measured("x", 6.0)).row("mine").all
    assert figures.captured is None
    assert figures.captured_static is None
    assert figures.speedup.value == pytest.approx(4 / 6)


def test_several_settings_and_no_plain_decoding_are_refused():
    made = results(Given(x=times()), measured("x", 6.0))
    made.append(measured("x", 6.0, order="shuffled"))
    with pytest.raises(ConfigError, match="one setting; found 2"):
        compare(made)
    with pytest.raises(ConfigError, match="no plain decoding in the setting recorded, warm"):
        compare(made.where(policy="mine", order="recorded"))


def test_without_references_the_best_static_choice_is_one_of_those_named():
    hindsight = Given(**{name: times() for name in "xyz"})
    made = results(hindsight, *(measured(name, 5.0) for name in "xyz"))
    made.options |= {"static-2": {"name": "static", "gamma": 2}, "lookup": {"name": "static", "gamma": 8}}
    made.append(*(replace(measured(name, 4.0), policy="static-2") for name in "xyz"))
    made.append(*(replace(measured(name, 1.0), policy="lookup") for name in "xyz"))
    comparison = compare(made, statics=["static-2"])

    assert comparison.best_static.label == "static-2"
    assert comparison.row("mine").all.over_static.value == pytest.approx(0.8)
    assert compare(made).best_static is None


def test_tuned_choices_never_come_from_the_text_itself():
    # Every text is fastest under a choice of its own, so that peeking would show.
    hindsight = Given(x=times(a=1.0, b=9.0), y=times(a=9.0, b=1.0))
    assert hindsight.tuned({"x": "code", "y": "code"}) == {"x": B, "y": A}
    assert hindsight.tuned({"x": "code"}) == {"x": PLAIN}


def test_halves_for_tuning_both_hold_every_kind():
    kinds = {f"{kind}{n}": kind for kind in ("p", "q", "r") for n in range(5)}
    seen = tuple(Given(**{text: times(a=float(n)) for n, text in enumerate(kinds)}).tuned(kinds))
    for half in (seen[:8], seen[8:]):
        assert {name[0] for name in half} == {"p", "q", "r"}


def played(recording, build, policy, texts=None, **keys):
    simulator = Simulator(recording.header, build())
    for text in texts or recording:
        totals = simulator.play(text)
        yield Measurement(policy, text.name, text.kind, text.varies, totals.seconds, totals, **keys)


@settings(deadline=None, max_examples=40)
@given(lab_recordings(sampled=False, texts=4), st.integers(0, 1 << 16))
def test_no_policy_captures_more_than_there_is(recording, seed):
    header = recording.header
    made = Results(options={"static-0": STATIC_0, "chaos": {"name": "chaos"}})
    made.append(*played(recording, lambda: StaticConfig(gamma=0).build(), "static-0"))
    chaos = ChaoticPolicy(seed, list(header.drafts), max_gamma=header.longest)
    made.append(*played(recording, lambda: chaos, "chaos"))
    comparison = compare(made, hindsight=Hindsight(recording), regret=True)
    chaos, plain = comparison.row("chaos"), comparison.row("static-0")
    for figures in (*chaos.groups.values(), *chaos.kinds.values()):
        assert figures.regret.oracle_s >= -1e-9
        assert figures.captured is None or figures.captured.value <= 1 + 1e-6
        assert figures.speedup.value <= figures.oracle.value * (1 + 1e-9)
    for figures in (*plain.groups.values(), *plain.kinds.values()):
        assert figures.speedup.value == pytest.approx(1.0)
        assert figures.accepted_tokens == pytest.approx(1.0)
        assert figures.spec_bench == pytest.approx(1.0)
        assert figures.captured is None or figures.captured.value == pytest.approx(0.0, abs=1e-9)


@settings(deadline=None, max_examples=30)
@given(lab_recordings(texts=4, most_tokens=10), st.integers(0, 99))
def test_spliced_texts_are_found_by_their_names(recording, seed):
    briefs = [Brief(text.name, text.kind, len(text.tokens)) for text in recording]
    try:
        way = ordered(briefs, "switching", seed=seed)
    except TraceError:
        return
    hindsight = Hindsight(recording)
    for text in (text_at(recording, stop) for stop in way):
        optimum = hindsight.optimum(text.name)
        assert optimum.text == text.name
        assert optimum.seconds <= hindsight.statics(text.name)[PLAIN] * (1 + 1e-9)


@settings(deadline=None, max_examples=30)
@given(lab_recordings(texts=3, sampled=True), st.integers(0, 99))
def test_each_draw_is_held_against_its_own_optimum(recording, draw):
    header, hindsight = recording.header, Hindsight(recording)
    for number in (None, draw):
        texts = [text if number is None else drawn(text, header, seed=number) for text in recording]
        made = Results(options={"static-0": STATIC_0, "static": {"name": "static", "gamma": header.longest}})
        for label, gamma in (("static-0", 0), ("static", header.longest)):
            build = StaticConfig(gamma=gamma).build
            made.append(*played(recording, build, label, texts, draw=number))
        figures = compare(made, hindsight=hindsight, regret=True).row("static").all
        assert figures.regret.oracle_s >= -1e-9
        optima = [hindsight.optimum(text.name, number).seconds for text in recording]
        plain = [hindsight.statics(text.name, number)[PLAIN] for text in recording]
        assert figures.oracle.value == pytest.approx(sum(plain) / sum(optima))


def test_a_text_of_another_recording_is_refused():
    @settings(max_examples=1)
    @given(lab_recordings())
    def try_one(recording):
        with pytest.raises(TraceError, match="a text 'elsewhere' that the recording lacks"):
            Hindsight(recording).statics("elsewhere")

    try_one()
