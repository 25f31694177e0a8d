"""The NLU-driven synthesizer: documented words become programs, unknown ones are named, and what is sure is right."""

from random import Random

import pytest

from paceline_colead.domain import DOMAINS, Domain, distinct
from paceline_colead.errors import QueryError
from paceline_colead.nlu import NluSynthesizer, stem


@pytest.mark.parametrize(
    ("name", "query", "program"),
    [
        (
            "editing",
            "Insert a colon after the second word in lines containing a comma.",
            "INSERT(colon,AFTER(WORD(NUMBER(2))),CONTAINS(comma))",
        ),
        ("editing", "delete the last character", "DELETE(CHARACTER(LAST()),EVERY_LINE())"),
        (
            "editing",
            "in lines without a dash, replace each comma by a dot",
            "REPLACE(EACH(comma),dot,EMPTY_OF(dash))",
        ),
        (
            "flights",
            "show flights on Monday to Boston from New York by Alpine",
            "LIST(FLIGHTS(FROM(newyork),TO(boston),ON(monday),ANY_TIME(),BY(alpine),ANY_STOPS()))",
        ),
    ],
)
def test_documented_words_in_any_order_become_the_program(name, query, program):
    domain = Domain.load(name)
    reading = NluSynthesizer(domain).read(query)
    assert str(reading.programs[0].program) == str(domain.parse(program))
    assert reading.unknown == reading.unplaced == ()


def test_a_new_word_of_the_grammar_is_spoken_at_once():
    query = "replace the first word by a colon"
    assert "replace" in NluSynthesizer(Domain.load("editing", 1)).read(query).unknown
    assert NluSynthesizer(Domain.load("editing", 2)).program(query).api == "REPLACE"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("frobnicate the line", "unknown words: frobnicate. A program is made of AFTER, BEFORE"),
        ("insert a colon", "no place for insert; the nearest program is DELETE"),
        ("each colon", "no word of 'each colon' names a command; it may be one of INSERT, DELETE"),
        ("", "no complete program in ''"),
        ("delete the first word in lines comma", "ambiguous; it may mean DELETE .* or DELETE"),
    ],
)
def test_a_bad_query_gets_a_clear_message(query, message):
    with pytest.raises(QueryError, match=message):
        NluSynthesizer(Domain.load("editing")).program(query)


@pytest.mark.parametrize("name", DOMAINS)
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_what_is_certain_is_right_and_not_all_is_certain(name, stage):
    domain = Domain.load(name, stage)
    synthesizer = NluSynthesizer(domain)
    pairs = distinct(domain.pairs(Random(5)), 150)
    certain = [
        reading.programs[0].program == pair.program
        for pair in pairs
        if (reading := synthesizer.read(pair.query)).certain
    ]
    assert 0.02 * len(pairs) < len(certain) < 0.5 * len(pairs)
    assert sum(certain) >= 0.97 * len(certain)


def test_a_learnt_mapping_makes_a_word_known():
    domain = Domain.load("editing", 1)
    query = "erase the third word"
    assert NluSynthesizer(domain).read(query).unknown == ("erase",)
    taught = NluSynthesizer(domain, {"erase": {"DELETE": 0.9, "NO_SUCH_API": 1.0}}).read(query)
    assert taught.certain
    assert str(taught.programs[0].program) == "DELETE ( WORD ( 3 ) , EVERY_LINE ( ) )"


@pytest.mark.parametrize(
    ("word", "other"),
    [("containing", "contain"), ("replace", "replacing"), ("lines", "line"), ("deleted", "delete")],
)
def test_endings_do_not_matter(word, other):
    assert stem(word) == stem(other)
