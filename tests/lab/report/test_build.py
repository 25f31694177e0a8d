"""From results to a report: sums, ratios, curves."""

from dataclasses import replace

import pytest

from paceline.core.errors import ConfigError
from paceline.lab.report.build import build_report
from paceline.lab.results import Results


def total(made, label, order="shuffled"):
    return sum(one.seconds for one in made.results.where(policy=label, order=order))


def lacking(results, label):
    passes = {key: listed for key, listed in results.passes.items() if key.policy != label}
    return Results(results.source, results.options, passes=passes)


def test_a_speed_up_is_the_ratio_of_total_times_and_lies_in_its_interval(made):
    one = made()
    rows = one.report.rows

    for row in rows:
        speedup = row.all.speedup
        assert speedup.value == pytest.approx(total(one, "static-0") / total(one, row.policy))
        if row.policy != "static-0":
            assert speedup.low < speedup.value < speedup.high
    assert [row.all.speedup.value for row in rows] == sorted(
        (row.all.speedup.value for row in rows), reverse=True
    )


def test_the_best_static_gamma_is_the_fastest_of_all_also_where_it_was_not_replayed(made):
    one = made()
    report = one.report
    best = report.comparison.row(report.best_static)

    assert report.plain.policy == "static-0"
    assert best.policy == min((f"static-{g}" for g in range(1, 7)), key=lambda label: total(one, label))
    assert best.all.over_static.value == pytest.approx(1.0)
    assert best.all.captured_static.value == pytest.approx(0.0)
    assert report.plain.all.captured.value == pytest.approx(0.0)

    again = build_report(lacking(one.results, best.policy), hindsight=one.hindsight)
    assert (again.best_static, again.static_speedup) == (report.best_static, report.static_speedup)
    assert again.comparison.row("aimd") == report.comparison.row("aimd")
    assert {curve.label for curve in again.curves} == {curve.label for curve in report.curves}


def test_without_a_recording_nothing_is_compared_with_static_gammas(made):
    report = build_report(made().results)
    assert report.best_static is None
    assert all(row.all.over_static is None for row in report.rows)


def test_curves_end_at_the_time_lost_against_the_oracle_in_plain_steps(made):
    one = made()
    report = one.report
    step = total(one, "static-0") / report.tokens
    oracle = sum(one.hindsight.optimum(text).seconds for text, _, _ in one.texts)

    for curve in report.curves:
        assert curve.tokens[-1] == report.tokens
        assert curve.lost[-1] == pytest.approx((total(one, curve.label) - oracle) / step)
        assert all(after >= before - 1e-9 for before, after in zip(curve.lost, curve.lost[1:], strict=False))


def test_the_parts_of_a_round_add_up_to_its_time(made):
    one = made()

    for row in one.report.rows:
        assert row.shares.total * one.report.tokens == pytest.approx(total(one, row.policy))


def test_spec_benchs_speed_up_counts_each_text_once(made):
    one = made()
    kind = one.texts[0][1]
    rates = {
        label: [
            m.tokens / m.seconds for m in one.results.where(policy=label, order="shuffled") if m.kind == kind
        ]
        for label in ("static-0", "aimd")
    }
    rows = one.report.comparison

    assert rows.row("aimd").kinds[kind].spec_bench == pytest.approx(
        sum(rates["aimd"]) / sum(rates["static-0"])
    )
    assert rows.row("static-0").kinds[kind].accepted_tokens == 1.0


def test_results_without_plain_decoding_are_refused_with_the_remedy(made):
    with pytest.raises(ConfigError, match="replay with static-0"):
        build_report(lacking(made().results, "static-0"))


def test_no_results_are_refused():
    with pytest.raises(ConfigError, match="no pass"):
        build_report(Results())


def test_passes_over_other_draws_are_not_held_against_the_optimum_of_the_recorded_one(made):
    one = made()
    drawn = Results(options=one.results.options)
    drawn.append(*(replace(measurement, draw=0) for measurement in one.results))
    report = build_report(drawn, hindsight=one.hindsight)

    assert report.oracle is None
    assert not report.curves
    assert all(row.all.captured is None for row in report.rows)
