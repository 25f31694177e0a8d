"""From a replay to findings: sums, ratios, intervals."""

from dataclasses import replace

import pytest

from paceline.core.errors import ConfigError
from paceline.lab.replay.results import Replay
from paceline.lab.report.estimates import Times
from paceline.lab.report.gather import Known, gather


def total(replay, label, order="shuffled"):
    return sum(
        o.seconds for one in replay.passes if one.label == label and one.order == order for o in one.outcomes
    )


def test_a_speed_up_is_the_ratio_of_total_times_and_lies_in_its_interval(made):
    one = made()
    found = gather(one.replay, one.known)

    for row in found.rows:
        assert row.speedup.value == pytest.approx(
            total(one.replay, "static-0") / total(one.replay, row.label)
        )
        if row.label != "static-0":
            assert row.speedup.low < row.speedup.value < row.speedup.high
    assert [row.speedup.value for row in found.rows] == sorted(
        (row.speedup.value for row in found.rows), reverse=True
    )


def test_the_best_static_gamma_is_the_fastest_of_all_also_where_it_was_not_replayed(made):
    one = made()
    found = gather(one.replay, one.known)

    assert found.plain == "static-0"
    assert found.best_static == min(
        (f"static-{g}" for g in range(1, 7)), key=lambda label: total(one.replay, label)
    )
    assert found.row(found.best_static).over_static is None
    assert found.row(found.best_static).captured_static.value == pytest.approx(0.0)
    assert found.row(found.plain).captured.value == pytest.approx(0.0)

    few = replace(one.replay, passes=[each for each in one.replay.passes if each.label != found.best_static])
    again = gather(few, one.known)
    assert (again.best_static, again.static_speedup) == (found.best_static, found.static_speedup)
    assert again.row("aimd") == found.row("aimd")
    assert again.kinds[0].best_static == found.kinds[0].speedups[found.best_static]
    assert {curve.label for curve in again.curves} == {curve.label for curve in found.curves}


def test_without_a_recording_nothing_is_compared_with_static_gammas(made):
    found = gather(made().replay)
    assert found.best_static is None
    assert all(row.over_static is None for row in found.rows)


def test_headroom_is_all_of_it_for_who_is_as_fast_as_the_oracle():
    times = Times(
        {"a": {"x": 2.0, "y": 2.0}, "b": {"x": 1.0, "y": 1.0}, "c": {"x": 1.5, "y": 1.5}}, ["x", "y"]
    )

    assert times.captured("b", "a", "b").value == pytest.approx(1.0)
    assert times.captured("c", "a", "b").value == pytest.approx(0.5)
    assert times.captured("c", "a", "a") is None


def test_too_few_texts_have_no_interval():
    times = Times({"a": {"x": 2.0, "y": 4.0}, "b": {"x": 1.0, "y": 1.0}}, ["x", "y"])

    assert times.speedup("b", "a").value == pytest.approx(3.0)
    assert times.speedup("b", "a").low is None


def test_curves_end_at_the_time_lost_against_the_oracle_in_plain_steps(made):
    one = made()
    found = gather(one.replay, one.known)
    step = total(one.replay, "static-0") / found.tokens

    for curve in found.curves:
        assert curve.tokens[-1] == found.tokens
        lost = total(one.replay, curve.label) - sum(one.known.oracle.values())
        assert curve.lost[-1] == pytest.approx(lost / step)
        assert all(after >= before - 1e-9 for before, after in zip(curve.lost, curve.lost[1:], strict=False))


def test_the_parts_of_a_round_add_up_to_its_time(made):
    one = made()
    found = gather(one.replay, one.known)

    for row in found.rows:
        assert row.shares.total * found.tokens == pytest.approx(total(one.replay, row.label))


def test_spec_benchs_speed_up_counts_each_text_once(made):
    one = made()
    found = gather(one.replay, one.known)
    kind = found.kinds[0]
    rates = {
        label: [o.tokens / o.seconds for p in one.replay.passes if (p.label, p.order) == (label, "shuffled")
                for o in p.outcomes if o.kind == kind.kind]
        for label in ("static-0", "aimd")
    }  # fmt: skip

    assert kind.spec_bench["aimd"] == pytest.approx(sum(rates["aimd"]) / sum(rates["static-0"]))
    assert kind.accepted_tokens["static-0"] == 1.0


def test_a_replay_without_plain_decoding_is_refused_with_the_remedy(made):
    replay = made().replay
    passes = [one for one in replay.passes if one.label != "static-0"]

    with pytest.raises(ConfigError, match="replay with static-0"):
        gather(Replay(replay.recording, passes, {}))


def test_an_empty_replay_is_refused():
    with pytest.raises(ConfigError, match="no pass"):
        gather(Replay({}, [], {}), Known())


def test_passes_over_other_draws_are_not_held_against_the_optimum_of_the_recorded_one(made):
    one = made()
    drawn = replace(one.replay, passes=[replace(each, draw=0) for each in one.replay.passes])
    found = gather(drawn, one.known)

    assert found.oracle is None
    assert not found.curves
    assert all(row.captured is None for row in found.rows)
