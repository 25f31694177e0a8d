"""Verdicts are what their formulas say, and follow from what cannot be otherwise."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from paceline.core.errors import TraceError
from paceline.core.testing.doubles import ChaoticPolicy
from paceline.lab.oracle.static import PLAIN, Static
from paceline.lab.regret.table import groups, headroom_table
from paceline.lab.regret.verdict import ALL, VARYING, judge, judge_pass
from paceline.lab.regret.yardsticks import Yardstick, rivals, yardsticks
from paceline.lab.replay.draws import drawn
from paceline.lab.replay.orders import Brief, ordered, visit
from paceline.lab.replay.results import Outcome, Pass, Replay
from paceline.lab.simulate import Simulator
from paceline.lab.testing import lab_recordings
from paceline.policies.static import StaticConfig

A, B = Static("a", 1), Static("a", 4)


def measure(name, kind="code", plain=10.0, a=8.0, b=9.0, best=4.0, tokens=10, varies=True, segmented=7.0):
    statics = {PLAIN: plain, A: a, B: b}
    return Yardstick(name, kind, varies, tokens, statics, segmented, best, True, best + 1.0)


def outcome(name, seconds, kind="code", tokens=10, rounds=5):
    return Outcome(name, kind, True, tokens, rounds, 0, 0, seconds, 0.0, 0.0, 0.0, {}, {}, (), ())


def replay(*outcomes, label="mine", order="recorded"):
    return Replay({}, [Pass(label, {"name": label}, order, "warm", 0, list(outcomes))], {})


def judged(found, yards):
    return [judge_pass(one, yards) for one in found.passes]


def known(*measures):
    return {one.text: one for one in measures}


def test_every_number_is_what_its_formula_says():
    yards = known(measure("x"), measure("y", plain=20.0, a=18.0, b=12.0, best=6.0, tokens=30, segmented=11.0))
    found = judged(replay(outcome("x", 6.0), outcome("y", 12.0, tokens=30, rounds=10)), yards)[0].groups[ALL]

    assert (found.texts, found.tokens, found.exact) == (2, 40, True)
    assert found.plain_s == pytest.approx(30 / 40)
    assert found.speedup.value == pytest.approx(30 / 18)
    assert found.over_static.value == pytest.approx(21 / 18)  # b is best for both together
    assert found.over_tuned.value == pytest.approx((9 + 18) / 18)  # each is given what is best for the other
    assert found.oracle.value == pytest.approx(30 / 10)
    assert found.oracle_expected.value == pytest.approx(30 / 12)
    assert found.captured.value == pytest.approx((30 - 18) / (30 - 10))
    assert found.captured_static.value == pytest.approx((21 - 18) / (21 - 10))
    assert found.regret_s == pytest.approx((18 - 10) / 40)
    assert found.regret_static_s == pytest.approx((18 - 8 - 12) / 40)
    assert found.regret_dynamic_s == pytest.approx((18 - 7 - 11) / 40)
    assert found.accepted_tokens == pytest.approx(40 / 15)
    assert found.spec_bench == pytest.approx((10 / 6 + 30 / 12) / (10 / 10 + 30 / 20))


def test_texts_that_vary_and_kinds_are_judged_apart():
    yards = known(measure("x"), measure("y", "prose"), measure("z", "prose", varies=False))
    outcomes = [outcome("x", 5.0), outcome("y", 6.0, "prose"), outcome("z", 7.0, "prose")]
    verdict = judged(replay(*outcomes), yards)[0]
    assert {name: one.texts for name, one in verdict.groups.items()} == {
        ALL: 3,
        VARYING: 2,
        "code": 1,
        "prose": 2,
    }
    assert verdict.curve == pytest.approx([1.0, 3.0, 6.0])
    assert judged(replay(*outcomes, order="switching"), yards)[0].groups.keys() == {ALL, VARYING}


def test_the_order_of_the_texts_changes_no_interval():
    yards = known(*(measure(str(number)) for number in range(8)))
    outcomes = [outcome(str(number), 5.0 + number % 3) for number in range(8)]
    one, other = judged(replay(*outcomes), yards)[0], judged(replay(*reversed(outcomes)), yards)[0]
    assert one.groups == other.groups
    assert one.groups[ALL].speedup.low < one.groups[ALL].speedup.value < one.groups[ALL].speedup.high


def test_where_nothing_can_be_saved_no_share_of_it_is_told():
    yards = known(measure("x", plain=4.0))
    found = judged(replay(outcome("x", 6.0)), yards)[0].groups[ALL]
    assert found.captured is None
    assert found.captured_static is None
    assert found.speedup.value == pytest.approx(4 / 6)


def test_an_unknown_text_is_refused():
    with pytest.raises(TraceError, match="nothing is known of text 'y'"):
        judged(replay(outcome("y", 1.0)), known(measure("x")))


def test_tuned_choices_never_come_from_the_text_itself():
    # Every text is fastest under a choice of its own, so that peeking would show.
    yards = known(*(measure(str(n), a=1.0 if n == 0 else 9.0, b=1.0 if n else 9.0) for n in range(2)))
    best = rivals(yards)
    assert best.by_text == {"0": A, "1": B}
    assert best.tuned == {"0": B, "1": A}
    one = rivals(known(measure("only")))
    assert one.tuned == {"only": PLAIN}


def test_halves_for_tuning_both_hold_every_kind():
    yards = known(*(measure(f"{kind}{n}", kind, a=float(n)) for kind in ("p", "q", "r") for n in range(5)))
    seen = tuple(rivals(yards).tuned)
    halves = seen[:8], seen[8:]
    for half in halves:
        assert {name[0] for name in half} == {"p", "q", "r"}


@settings(deadline=None, max_examples=40)
@given(lab_recordings(sampled=False, texts=4), st.integers(0, 1 << 16))
def test_no_policy_captures_more_than_there_is(recording, seed):
    header = recording.header
    passes = []
    for label, policy in {
        "plain": StaticConfig(gamma=0).build(),
        "chaos": ChaoticPolicy(seed, list(header.drafts), max_gamma=header.longest),
    }.items():
        player = Simulator(header, policy)
        outcomes = [player.play(text) for text in recording]
        passes.append(Pass(label, {"name": label}, "recorded", "warm", 0, outcomes))
    plain, chaos = judge(Replay({}, passes, {}), recording)
    for found in chaos.groups.values():
        assert found.regret_s >= -1e-9
        assert found.captured is None or found.captured.value <= 1 + 1e-6
        assert found.speedup.value <= found.oracle.value * (1 + 1e-9)
    for found in plain.groups.values():
        assert found.speedup.value == pytest.approx(1.0)
        assert found.accepted_tokens == pytest.approx(1.0)
        assert found.spec_bench == pytest.approx(1.0)
        assert found.captured is None or found.captured.value == pytest.approx(0.0, abs=1e-9)
    json.dumps(chaos.to_json())


@settings(deadline=None, max_examples=30)
@given(lab_recordings(texts=4, wanted=10), st.integers(0, 99))
def test_spliced_texts_are_found_by_their_names(recording, seed):
    briefs = [Brief(text.name, text.kind, len(text.tokens)) for text in recording]
    try:
        way = ordered(briefs, "switching", seed=seed)
    except TraceError:
        return
    names = [text.name for text in visit(recording, way)]
    yards = yardsticks(recording, names)
    assert list(yards) == list(dict.fromkeys(names))
    for text in visit(recording, way):
        assert yards[text.name].tokens == len(text.tokens)


@settings(deadline=None, max_examples=30)
@given(lab_recordings(texts=3, sampled=True), st.integers(0, 99))
def test_each_draw_is_held_against_its_own_optimum(recording, draw):
    header = recording.header
    passes = []
    for number in (None, draw):
        player = Simulator(header, StaticConfig(gamma=header.longest).build())
        texts = [text if number is None else drawn(text, header, seed=number) for text in recording]
        outcomes = [player.play(text) for text in texts]
        passes.append(Pass("static", {}, "recorded", "warm", 0, outcomes, number))
    for found in judge(Replay({}, passes, {}), recording):
        assert found.groups[ALL].regret_s >= -1e-9
        own = yardsticks(recording, draw=found.draw)
        total = sum(one.oracle_s for one in own.values())
        plain = sum(one.plain_s for one in own.values())
        assert found.groups[ALL].oracle.value == pytest.approx(plain / total)


def test_a_text_of_another_recording_is_refused():
    @settings(max_examples=1)
    @given(lab_recordings())
    def try_one(recording):
        with pytest.raises(TraceError, match="a text 'elsewhere' that the recording lacks"):
            yardsticks(recording, ["elsewhere"])

    try_one()


def test_the_table_fits_a_terminal_and_ends_with_the_optimum():
    yards = known(*(measure(str(number), varies=number > 3) for number in range(8)))
    passes = [
        *replay(
            *(outcome(str(n), 7.0 - n / 8) for n in range(8)),
            label="a-policy-with-a-very-long-name:of=options",
        ).passes,
        *replay(*(outcome(str(n), 5.0) for n in range(8)), label="quick").passes,
    ]
    verdicts = judged(Replay({}, passes, {}), yards)
    assert groups(verdicts) == [ALL, VARYING]
    out = StringIO()
    console = Console(file=out, width=80)
    for group in groups(verdicts):
        console.print(headroom_table(verdicts, group))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    names = [
        line.split()[0] for line in lines if line[:1].strip() and not line.startswith(("policy", "over"))
    ]
    assert names.count("quick") == names.count("optimum") == 2
    assert names.index("quick") < names.index("optimum")
    quick = next(line for line in lines if line.startswith("quick"))
    assert quick.split()[1] == "2.00x"
    assert "83%" in quick  # (10 - 5) / (10 - 4)
    assert "100" in quick.split()  # 1 second of 10 for 10 tokens, in thousandths of a plain step
