"""Grammars are read, checked, and parse what they generate; what is wrong is named."""

from itertools import islice
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline_colead.domain import DOMAINS, Domain
from paceline_colead.errors import GrammarError, ProgramError
from paceline_colead.grammar import Call, Grammar

STAGES = [(name, stage) for name in DOMAINS for stage in (1, 2, 3)]


def written(tmp_path, *texts):
    paths = [tmp_path / f"stage{number}.bnf" for number, _ in enumerate(texts, 1)]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(STAGES), st.integers(0, 10**6), st.booleans())
def test_every_program_that_is_drawn_is_parsed_as_it_was_written(place, seed, held_out):
    domain = Domain.load(*place)
    for pair in islice(domain.pairs(Random(seed), held_out=held_out), 5):
        assert domain.parse(str(pair.program)) == pair.program
        assert domain.parse(str(pair.program).replace(" ", "")) == pair.program


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(STAGES), st.integers(0, 10**6))
def test_what_may_follow_a_beginning_leads_through_every_program_to_its_end_and_nowhere_else(place, seed):
    domain = Domain.load(*place)
    literals, tokens = domain.file.literals, next(domain.pairs(Random(seed))).program.tokens()
    for at, token in enumerate(tokens):
        following = domain.grammar.following(tokens[:at], literals)
        assert token in following
        assert "nonsense" not in following
    assert domain.grammar.following(tokens, literals) == ()
    with pytest.raises(ProgramError, match="it should have ended"):
        domain.grammar.following([*tokens, ")"], literals)
    with pytest.raises(ProgramError, match="nonsense"):
        domain.grammar.following(["nonsense"], literals)


def test_a_later_file_replaces_the_rules_that_it_gives_again(tmp_path):
    grammar = Grammar.read(
        written(tmp_path, "<p> ::= A ( <x> )\n<x> ::= B ( )", "# more\n<x> ::= C ( $n )\n  | [ D ( ) ]")
    )
    assert grammar.apis == {"A", "C", "D"}
    assert grammar.defaults == {"<x>": Call("D")}
    assert [slot.place for slot in grammar.slots] == [(), (0,), (0, 0)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there is no rule"),
        ("<p> := A ( )", r"stage1.bnf, line 1: '<p> := A \( \)' is no rule"),
        ("# fine\n<p> ::= A ( <x> ) | b", r"line 2: <p> offers 'b'; an alternative is API"),
        ("<p> ::= A ( ) | A ( $n )", "offers A twice"),
        ("<p> ::= A ( <x> )", "<p> refers to <x>, which no rule gives; there are <p>"),
        ("<p> ::= A ( <x> )\n<x> ::= B ( <p> )", "<p> -> <x> -> <p> comes back to itself"),
        ("<p> ::= [ A ( $n ) ]", "a default takes no arguments"),
    ],
)
def test_a_broken_grammar_is_refused_with_its_place(tmp_path, text, message):
    with pytest.raises(GrammarError, match=message):
        Grammar.read(written(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("INSERT(colon,START(),EVERY_LINE())x", "it should have ended before token 13, 'x'"),
        ("INSERT(colon,START()", "at token 8 stands its end; it may be ,"),
        ("INSERT(colour,START(),EVERY_LINE())", "at token 3 stands 'colour'; it may be colon, comma"),
        ("UPPERCASE(WORD(1),EVERY_LINE())", "at token 1 stands 'UPPERCASE'; it may be INSERT, DELETE"),
    ],
)
def test_a_text_that_is_no_program_is_refused_with_the_token(text, message):
    with pytest.raises(ProgramError, match=message):
        Domain.load("editing", 1).parse(text)


@pytest.mark.parametrize(
    ("name", "stage", "message"),
    [("cooking", 1, "none of editing, flights"), ("editing", 4, "no stage 4; there are 1 to 3")],
)
def test_a_domain_or_stage_that_is_not_there_is_refused(name, stage, message):
    with pytest.raises(GrammarError, match=message):
        Domain.load(name, stage)


def test_an_api_without_description_is_refused(tmp_path):
    written(tmp_path, "<p> ::= A ( $n )")
    (tmp_path / "domain.yaml").write_text("apis: {}\nliterals: {}", encoding="utf-8")
    with pytest.raises(GrammarError, match="does not describe A"):
        Domain.load("own", folder=tmp_path)
    (tmp_path / "domain.yaml").write_text(
        "apis: {A: {description: a, phrases: [a]}}\nliterals: {}", encoding="utf-8"
    )
    with pytest.raises(GrammarError, match="no literals of type n"):
        Domain.load("own", folder=tmp_path)
