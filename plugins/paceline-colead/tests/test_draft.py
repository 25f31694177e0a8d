"""The synthesizer as a draft: it proposes its program, keeps the contract of backends, and never changes the text."""

import pytest
from pydantic import ValidationError

import paceline
from paceline import BackendError, Catalogue, TokenVerdict, verify_greedy
from paceline.testing import check_backend
from paceline_colead import NluDraft, NluDraftConfig, register_backends
from paceline_colead.domain import Domain
from paceline_colead.draft import CERTAIN, LIKELY, OTHER, SEPARATOR
from paceline_colead.nlu import NluSynthesizer

DOMAIN = Domain.load("editing", 2)
WORDS = ["<end>", SEPARATOR, *DOMAIN.words]


class Words:
    def encode(self, text):
        return [WORDS.index(word) for word in text.split()]

    def decode(self, tokens):
        return " ".join(WORDS[token] for token in tokens if token)


class Writer:
    """A target that writes one program after `=>`, then the end, whatever stands before."""

    codec = Words()
    eos = frozenset({0})
    max_context = None
    vocabulary = len(WORDS)
    capabilities = paceline.Capabilities()

    def __init__(self, program):
        self.program = [*self.codec.encode(program), 0]

    def open(self, prompt):
        return WriterSession(self.program, list(prompt))

    def following(self, context):
        at = context.index(1) + 1 if 1 in context else len(context)
        return (self.program + [1] * 100)[max(0, len(context) - at)]


class WriterSession(Writer):
    def __init__(self, program, context):
        self.program, self.context = program, context

    def verify(self, proposal) -> TokenVerdict:
        guess = () if proposal is None else tuple(proposal.tokens)
        steps = range(len(guess) + 1)
        return verify_greedy(guess, [self.following([*self.context, *guess[:step]]) for step in steps])

    def advance(self, tokens):
        self.context += tokens

    def close(self):
        pass


RIGHT = "INSERT ( colon , AFTER ( WORD ( 2 ) ) , EVERY_LINE ( ) )"
OTHER_PLACE = "INSERT ( colon , BEFORE ( WORD ( 2 ) ) , EVERY_LINE ( ) )"
QUERY = "insert colon after second word =>"


@pytest.fixture(scope="module")
def draft():
    return NluDraft(NluSynthesizer(DOMAIN), Writer(RIGHT))


@pytest.mark.parametrize("program", [RIGHT, OTHER_PLACE, "DELETE ( EACH ( dot ) , CONTAINS ( dash ) )"])
def test_it_keeps_the_contract_of_backends(program):
    prompts = [[5], Words().encode(QUERY), Words().encode("colon =>"), [3, 1, 4, 1, 5]]
    check_backend(
        lambda: Writer(program),
        lambda target: NluDraft(NluSynthesizer(DOMAIN), target),
        prompts=prompts,
        max_examples=8,
    )


def test_the_whole_program_is_proposed_with_its_end_and_accepted_in_one_round(draft):
    target = Writer(RIGHT)
    session = draft.open(Words().encode(QUERY))
    assert session.match_length == CERTAIN
    assert list(session.draft(64, None).tokens) == target.program
    policy = paceline.load_config({"policy": {"name": "static", "gamma": 32}}).policy.build(0)
    done = paceline.SpeculativeDecoder(target, {"grammar": draft}, policy).generate(QUERY)
    assert done.text == RIGHT
    assert done.totals.rounds == 1


def test_after_the_model_has_gone_another_way_the_rest_is_proposed_again(draft):
    tokens = Words().encode(OTHER_PLACE)
    session = draft.open(Words().encode(QUERY))
    session.advance(tokens[:5])
    assert 0 < session.match_length <= OTHER
    assert list(session.draft(64, None).tokens) == [*tokens[5:], 0]


def test_it_says_how_sure_it_is(draft):
    sure = {
        QUERY: CERTAIN,
        "insert colon after second word preceding =>": LIKELY,
        "colon =>": LIKELY,
        "=>": 0,
        "insert": 0,
    }
    assert {text: draft.open(Words().encode(text)).match_length for text in sure} == sure
    assert draft.open(Words().encode("=>")).draft(4, None).tokens == ()


def test_a_target_without_tokenizer_is_refused_when_it_is_built_and_when_it_is_checked():
    target = Writer(RIGHT)
    target.codec = None
    with pytest.raises(BackendError, match="needs a target with a tokenizer"):
        NluDraftConfig().build_draft(target)
    said = NluDraftConfig().check_draft(paceline.load_config({}), paceline.Readiness(vocabulary=9))
    assert "needs a target with a tokenizer" in said.problems[0]


def test_a_domain_that_is_not_there_is_a_problem_of_the_run():
    run = paceline.load_config({})
    said = NluDraftConfig(domain="cooking").check_draft(run, paceline.Readiness())
    assert "none of editing, flights" in said.problems[0]
    assert NluDraftConfig(domain="flights", stage=2).check_draft(run, paceline.Readiness()).problems == ()
    with pytest.raises(ValidationError):
        NluDraftConfig(stage=0)


def test_the_hook_names_it_and_an_installed_plugin_is_in_the_catalogue():
    assert register_backends() == [NluDraftConfig]
    backends = Catalogue.load().backends
    if "colead" not in backends:
        pytest.skip("the package is on the path, not installed")
    assert backends["colead"].distribution == "paceline-colead"
