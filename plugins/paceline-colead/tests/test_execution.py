"""Programs do what the documentation says, and every program of a domain can be executed."""

from itertools import islice
from random import Random

import pytest

from paceline_colead.domain import DOMAINS, HELD_OUT, Domain, distinct
from paceline_colead.errors import ProgramError
from paceline_colead.execution import edit, execute, flights
from paceline_colead.grammar import Call


@pytest.mark.parametrize(
    ("program", "line", "after"),
    [
        ("INSERT(colon,START(),EVERY_LINE())", "ab cd", ":ab cd"),
        ("INSERT(dot,END(),CONTAINS(comma))", "ab cd", "ab cd"),
        ("INSERT(dash,AFTER(WORD(LAST())),EVERY_LINE())", "ab cd", "ab cd-"),
        ("INSERT(star,BEFORE(EACH(comma)),EVERY_LINE())", "a,b,c", "a*,b*,c"),
        ("DELETE(CHARACTER(NUMBER(2)),BEGINS_WITH(hash))", "#ab", "#b"),
        ("DELETE(WORD(NUMBER(4)),EVERY_LINE())", "ab cd", "ab cd"),
        ("REPLACE(EACH(plus),slash,EMPTY_OF(hash))", "a+b", "a/b"),
        ("UPPERCASE(WORD(NUMBER(2)),EVERY_LINE())", "ab ab", "ab AB"),
    ],
)
def test_an_edit_does_what_it_says(program, line, after):
    assert edit(Domain.load("editing").parse(program), line) == after


def test_a_flight_query_answers_from_the_table():
    domain = Domain.load("flights", 2)
    rows = [r for r in flights() if (r.start, r.end) == ("boston", "denver") and r.hour < 12]
    trip = "FLIGHTS(FROM(boston),TO(denver),ANY_DAY(),MORNING())"
    assert len(rows) > 5
    assert execute("flights", domain.parse(f"LIST({trip})")) == tuple(str(row.number) for row in rows)
    assert execute("flights", domain.parse(f"COUNT({trip})")) == (f"{len(rows)} flights",)
    cheapest = min(rows, key=lambda row: row.fare)
    assert execute("flights", domain.parse(f"CHEAPEST({trip})"))[0] == str(cheapest.number)


@pytest.mark.parametrize("name", DOMAINS)
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_every_program_of_a_domain_can_be_executed(name, stage):
    domain = Domain.load(name, stage)
    for pair in islice(domain.pairs(Random(3)), 200):
        assert isinstance(execute(name, pair.program), tuple)


def test_a_program_of_elsewhere_is_refused():
    with pytest.raises(ProgramError, match="those of editing and flights can"):
        execute("cooking", Call("A"))
    with pytest.raises(ProgramError, match="cannot be executed"):
        execute("flights", Call("LIST"))


def test_held_out_phrases_are_in_test_queries_alone():
    domain = Domain.load("flights")
    held_out = [
        phrase.removeprefix(HELD_OUT).partition(" {")[0]
        for api in ("TO", "ON", "NONSTOP")
        for phrase in domain.file.apis[api].phrases
        if phrase.startswith(HELD_OUT)
    ]
    usual = distinct(domain.pairs(Random(0)), 300)
    test = distinct(domain.pairs(Random(0), held_out=True), 300, frozenset(p.query for p in usual))
    assert not any(phrase in pair.query for pair in usual for phrase in held_out)
    assert all(any(phrase in pair.query for pair in test) for phrase in held_out)
    assert not {pair.query for pair in usual} & {pair.query for pair in test}
