"""The public names of the lab, together as somebody in a notebook would use them."""

import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import Literal

import pytest
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.text import Text

from paceline.core.config.blocks import PolicyConfig
from paceline.core.errors import ConfigError, TraceError
from paceline.core.plugins.catalogue import Catalogue
from paceline.lab import (
    Hindsight,
    Results,
    build_report,
    by_setting,
    compare,
    draw,
    made_up_recording,
    replay_policies,
)
from paceline.lab.short_names import parse_policy, short_name

CATALOGUE = Catalogue.load()


@pytest.fixture(scope="module")
def recording():
    return made_up_recording("regimes-0.12", texts=6, tokens=60)


@pytest.fixture(scope="module")
def results(recording):
    return replay_policies(recording, ["static-2", "aimd"], orders=("recorded", "shuffled"), seeds=2)


@pytest.fixture(scope="module")
def report(recording, results):
    return build_report(results, recording, Hindsight(recording))


def test_policies_are_replayed_compared_and_kept(recording, results, tmp_path):
    assert results.policies() == ["static-0", "static-2", "aimd"]
    assert len(results) == 3 * 2 * 2 * 6
    first, second = by_setting(results)
    comparison = compare(first, hindsight=Hindsight(recording))
    assert comparison.order == "recorded"
    assert comparison.row("aimd").all.speedup.value > 0
    assert "aimd" in comparison._repr_html_()
    assert compare(second).order == "shuffled"
    path = tmp_path / "results.jsonl"
    results.write(path)
    assert Results.read(path) == results


@pytest.mark.parametrize("name", ["ranking", "regret", "shares", "orders", "costs"])
def test_a_picture_is_drawn_on_axes_of_the_caller(report, name):
    axes = Figure().add_subplot()
    assert draw(report, name, axes=axes) is axes.figure
    assert axes.has_data()


def test_pictures_are_written_as_png_pdf_and_svg(report, tmp_path):
    for name, ending, head in (
        ("ranking", "png", b"\x89PNG"),
        ("timeline", "pdf", b"%PDF"),
        ("positions", "svg", b"<?xml"),
    ):
        path = tmp_path / f"{name}.{ending}"
        draw(report, name).savefig(path)
        assert path.read_bytes().startswith(head)
    ET.parse(tmp_path / "positions.svg")


def test_a_picture_that_cannot_be_drawn_says_why(report):
    with pytest.raises(ConfigError, match="no picture named 'landscape'; there are ranking"):
        draw(report, "landscape")
    with pytest.raises(ConfigError, match="several panels"):
        draw(report, "timeline", axes=Figure().add_subplot())
    with pytest.raises(ConfigError, match=r"such as figure\.subplots\(\) returns; this is a Figure"):
        draw(report, "ranking", axes=Figure())
    with pytest.raises(ConfigError, match="no data for the picture 'kinds'"):
        draw(report, "kinds")


def test_a_report_is_written_as_a_page(report, tmp_path):
    report.write(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert "<table>" in report._repr_html_()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"policies": "aimd"}, "a list of names"),
        ({"orders": ["sideways"]}, "orders are a list of recorded, shuffled"),
        ({"orders": []}, "orders are a list"),
        ({"starts": "warm"}, "starts are a list of warm, cold"),
        ({"seeds": 0}, "seeds are a number from 1 on"),
        ({"draws": 0}, "draws are a number from 1 on"),
        ({"policies": [3]}, "a list of names or configurations"),
    ],
)
def test_what_replay_cannot_play_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        replay_policies(None, **arguments)


def test_a_policy_may_be_given_as_its_configuration(recording, results):
    aimd, static = (CATALOGUE.policies[name].config for name in ("aimd", "static"))
    given = replay_policies(recording, [static(gamma=2), aimd(), aimd(max_gamma=3), "gate"])
    assert given.policies() == ["static-0", "static-2", "aimd", "aimd:max_gamma=3", "gate"]
    assert replay_policies(recording, ["aimd:max_gamma=3"]).options["aimd:max_gamma=3"]["max_gamma"] == 3
    for policy in ("static-2", "aimd"):
        again = given.where(policy=policy, order="recorded")
        assert list(again) == list(results.where(policy=policy, order="recorded", start="warm", seed=0))


def test_a_configuration_that_is_not_installed_is_refused(recording):
    with pytest.raises(ConfigError, match="no policy named 'static'; installed: none"):
        replay_policies(
            recording, [CATALOGUE.policies["aimd"].config()], catalogue=Catalogue.load(installed=False)
        )


def test_draws_of_a_greedy_recording_are_refused(recording):
    greedy = replace(recording, header=replace(recording.header, mode="greedy"))
    with pytest.raises(TraceError, match="this recording is greedy"):
        replay_policies(greedy, ["aimd"], draws=2)


@pytest.mark.parametrize(
    "name",
    [
        *sorted(set(CATALOGUE.policies) - {"static"}),
        "static-3:draft=small",
        "online:window=20:max_gamma=4",
        "gate:policy.window=9",
    ],
)
def test_the_short_name_of_a_configuration_stands_for_it(name):
    config = parse_policy(name, CATALOGUE)
    assert parse_policy(short_name(config), CATALOGUE) == config
    assert "policy." in name or short_name(config) == name


def test_a_policy_without_a_row_is_named_with_those_that_have_one(results):
    with pytest.raises(ConfigError, match=r"no row for 'aimed'; there are: .*aimd"):
        compare(results.where(order="recorded")).row("aimed")


def test_what_holds_much_says_little_of_itself(results, report):
    assert repr(results) == "<Results: 3 policies on 6 texts in 12 passes>"
    assert repr(replace(results, complete=False)).endswith(", not complete>")
    comparison = compare(results.where(order="recorded"))
    assert repr(comparison).startswith("<Comparison: 3 policies on 6 texts, recorded, warm; the fastest is ")
    assert all(len(repr(whole)) < 200 for whole in (comparison, report))
    assert "measurements" not in repr(comparison.row("aimd"))


def test_a_picture_on_axes_of_the_caller_has_the_fonts_of_the_caller(report):
    with rc_context({"font.family": ["DejaVu Sans Mono"]}):
        axes = Figure().add_subplot()
        draw(report, "ranking", axes=axes)
        letters = [text for text in axes.findobj(Text) if text.get_text()]
        assert {tuple(text.get_fontfamily()) for text in letters} == {("DejaVu Sans Mono",)}


class NotInstalledConfig(PolicyConfig):
    """Plain decoding, by a policy that no plugin registers."""

    name: Literal["not-installed"] = "not-installed"

    def build(self, seed=0):
        return parse_policy("static-0", CATALOGUE).build(seed)


def test_a_policy_that_is_not_installed_is_replayed_by_its_configuration():
    recording = made_up_recording("regimes-0.12", texts=2, tokens=60)
    results = replay_policies(recording, [NotInstalledConfig(), "static-2"])
    assert set(results.policies()) == {"static-0", "not-installed", "static-2"}
    plain, same = (results.where(policy=name) for name in ("static-0", "not-installed"))
    assert [each.seconds for each in plain] == [each.seconds for each in same]
