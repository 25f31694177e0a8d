"""The page: whole, offline, honest, the same every time, and safe with any name."""

from dataclasses import replace
from html.parser import HTMLParser

import pytest

from paceline.lab.report.build import build_report
from paceline.lab.report.page import page
from paceline.lab.report.plots import pictures
from paceline.lab.results import Results

VOID = {"meta", "br", "link", "img", "hr", "input"}


class Reader(HTMLParser):
    """Reads a page, and raises where tags do not match."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.tags, self.words = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.handle_startendtag(tag, attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            if name in {"href", "src", "xlink:href", "data", "action", "srcset"}:
                self.links.append(value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def written(found):
    return page(found, pictures(found))


@pytest.fixture(scope="module")
def html(found):
    return written(found)


def test_the_page_is_well_formed_and_its_identifiers_differ(html):
    read = Reader(html)

    assert len(read.ids) == len(set(read.ids))
    assert html.startswith("<!DOCTYPE html>")


def test_the_page_needs_nothing_from_elsewhere(html):
    read = Reader(html)

    assert {"script", "link", "img", "iframe"}.isdisjoint(read.tags)
    assert all(link.startswith("#") and link[1:] in read.ids for link in read.links)
    assert "@import" not in html
    assert "url(http" not in html


def test_the_page_holds_every_section_and_picture(html, found):
    read = Reader(html)
    sections = {
        "ranking",
        "timeline",
        "regret",
        "positions",
        "shares",
        "kinds",
        "orders",
        "costs",
        "validation",
    }

    assert sections | {"provenance"} <= set(read.ids)
    assert read.tags.count("svg") == len(sections) - 1
    assert html.count("How to read it") == len(sections) - 1
    text = " ".join(" ".join(read.words).split())
    for row in found.rows:
        assert row.policy in text
    for needed in ("Example CPU", "0" * 64, "paceline report", "needs entropy", "mean accepted tokens"):
        assert needed in text


def test_every_picture_is_described_for_those_who_cannot_see_it(html):
    assert html.count('role="img" aria-label="') == Reader(html).tags.count("svg")


def test_the_page_warns_at_its_top_when_the_replay_misses_by_more_than_5_percent(found, predicted):
    static, aimd = {"name": "static", "gamma": 3}, {"name": "aimd"}
    checks = [predicted(static, 100.0, 106.0), predicted(aimd, 100.0, 99.0)]
    off = written(replace(found, checks=checks))
    near = written(replace(found, checks=[predicted(static, 100.0, 105.0)]))

    top = off[: off.index("<main>")]
    assert "misses the measured speeds by up to 6%" in top
    assert 'role="alert"' in top
    assert 'class="miss"' in off
    assert "misses the measured" not in near
    assert 'role="alert"' not in near


def test_a_replay_that_was_never_held_against_the_clock_says_so(found):
    text = written(replace(found, checks=[]))

    assert "nobody knows how well it predicts" in text[: text.index("<main>")]


def test_names_that_look_like_markup_are_shown_as_they_are(made):
    hostile = '<script>alert("$x$ & --> y")</script>'
    one = made(names=(hostile, "gate"))
    text = written(one.report)

    read = Reader(text)
    assert "script" not in read.tags
    assert hostile in "".join(read.words)


def test_the_same_results_give_the_same_bytes(html, made):
    assert written(made().report) == html


def test_without_a_recording_the_page_is_whole_and_shows_what_the_replay_alone_tells(made):
    found = build_report(made().results)
    read = Reader(written(found))

    assert {"ranking", "positions", "shares"} <= set(read.ids)
    assert {"timeline", "regret", "costs"}.isdisjoint(read.ids)


def test_one_text_of_one_kind_in_one_setting_still_makes_a_page(made):
    results = made(texts=1).results.where(order="shuffled")

    Reader(written(build_report(Results(options=results.options, passes=results.passes))))
