"""The model, the circle and the experiment, at a size that takes seconds."""

from dataclasses import replace
from itertools import islice
from random import Random

import pytest
import torch

import paceline
from paceline_colead.circle import Colead, decoder, still_programs, write
from paceline_colead.domain import Domain, distinct
from paceline_colead.evolve import KINDS, Interval, Settings, evolve
from paceline_colead.model import DataSynthesizer
from paceline_colead.nlu import NluSynthesizer

DOMAIN = Domain.load("editing", 1)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def taught():
    """A small model after a little training, the circle around it, and the pairs of its queries."""
    pairs = distinct(DOMAIN.pairs(Random(0)), 160)
    data = DataSynthesizer(DOMAIN, width=48, layers=1)
    colead = Colead(DOMAIN, data, [pair.query for pair in pairs[16:]], pairs[:16])
    losses = []
    colead.round(60, report=lambda _, loss: losses.append(loss))
    return colead, pairs, losses


def test_training_lowers_the_loss(taught):
    _, _, losses = taught
    assert len(losses) == 60
    assert sum(losses[-5:]) < 0.75 * sum(losses[:5])


def test_words_that_no_description_has_are_learnt_from_pairs_and_make_more_queries_certain(taught):
    colead, pairs, _ = taught
    before = NluSynthesizer(DOMAIN)
    queries = [pair.query for pair in pairs]
    assert sum(colead.nlu.read(query).certain for query in queries) > sum(
        before.read(query).certain for query in queries
    )
    learnt = colead.data.learnt()
    assert all(abs(sum(weights.values()) - 1) < 1e-4 for weights in learnt.values())


def test_what_the_nlu_side_labels_is_right(taught):
    colead, pairs, _ = taught
    programs = {pair.query: pair.program for pair in pairs}
    assert len(colead.pseudo) > 10
    assert all(programs[pair.query] == pair.program for pair in colead.pseudo)


def test_with_the_grammar_draft_the_tokens_are_those_of_plain_decoding(taught):
    colead, pairs, _ = taught
    plain, drafted = decoder(colead.data, DOMAIN), decoder(colead.data, DOMAIN, colead.nlu)
    for pair in pairs[:5]:
        alone, helped = (write(colead.data, each, DOMAIN, pair.query) for each in (plain, drafted))
        assert helped.tokens == alone.tokens
        assert helped.program == alone.program
        assert helped.rounds <= alone.rounds


def test_an_untrained_model_writes_programs_and_names_the_literals_of_the_query_alone():
    data = DataSynthesizer(DOMAIN, width=32, layers=1)
    decoding = decoder(data, DOMAIN, NluSynthesizer(DOMAIN))
    for query in ("insert a dash at the start", "delete the third word", "frobnicate", "=> dash"):
        program = write(data, decoding, DOMAIN, query).program
        assert program is not None
        for named in DOMAIN.literals_in(query).values():
            kind = next(values for values in DOMAIN.file.literals.values() if named.keys() <= values.keys())
            assert not named or kind.keys() & set(program.tokens()) <= named.keys()


def test_the_answer_is_that_of_the_documentation_and_the_model_decides_where_programs_tie(taught):
    colead, _, _ = taught
    other = DOMAIN.parse("INSERT(dash,END(),CONTAINS(slash))")
    sure = DOMAIN.parse("DELETE(WORD(3),EVERY_LINE())")
    assert colead.answer("delete the third word", other) == sure
    assert colead.answer("frobnicate delete the third word", other) == sure
    tied = colead.nlu.read("insert a dash a slash at the end").tied
    assert len(tied) > 1
    assert [colead.answer("insert a dash a slash at the end", each) for each in tied] == tied
    assert colead.answer("frobnicate", other) == other
    assert colead.answer("frobnicate", None) is None


def test_when_the_language_grows_pairs_that_are_no_programs_any_more_go(taught):
    pairs = distinct(Domain.load("editing", 2).pairs(Random(1)), 80)
    kept = still_programs(pairs, Domain.load("editing", 3))
    assert 0 < len(kept) < len(pairs)
    assert all("WORD" not in pair.program.tokens() for pair in kept)


@pytest.mark.parametrize("name", ["editing", "flights"])
def test_other_literals_keep_the_meaning(name):
    domain, rng = Domain.load(name), Random(2)
    synthesizer = NluSynthesizer(domain)
    changed = 0
    for pair in islice(domain.pairs(rng), 100):
        other = domain.varied(pair, rng)
        changed += other.program != pair.program
        assert [t for t in other.program.tokens() if t.isupper()] == [
            t for t in pair.program.tokens() if t.isupper()
        ]
        if synthesizer.read(other.query).certain:
            assert synthesizer.program(other.query) == other.program
    assert changed > 60


def test_a_saved_model_is_read_by_a_run_file(taught, tmp_path):
    colead, pairs, _ = taught
    colead.data.save(tmp_path / "model")
    decoding = paceline.load(
        {"target": {"backend": "hf", "model": str(tmp_path / "model")}, "drafts": {}, "policy": "auto"}
    )
    ours = decoder(colead.data, DOMAIN)
    constrained, prompt = ours.sampling, colead.data.prompt(pairs[0].query)
    written = decoding.generate(prompt, max_new_tokens=12, sampling=constrained)
    assert written.tokens == ours.generate(prompt, max_new_tokens=12).tokens


@pytest.mark.parametrize("policy", ["auto", "linear-select"])
def test_the_grammar_drafts_beside_prompt_lookup_and_a_model(taught, tmp_path, policy):
    colead, pairs, _ = taught
    small = DataSynthesizer(DOMAIN, seed=1, width=16, layers=1)
    small.train(pairs[:16], steps=8)
    colead.data.save(tmp_path / "target")
    small.save(tmp_path / "small")
    target = {"backend": "hf", "model": str(tmp_path / "target")}
    drafts = {
        "grammar": {"backend": "colead", "domain": "editing", "stage": 1},
        "lookup": {"backend": "prompt-lookup"},
        "small": {"backend": "hf", "model": str(tmp_path / "small")},
    }
    decoding = paceline.load({"target": target, "drafts": drafts, "policy": policy})
    plain, used = decoder(colead.data, DOMAIN), set()
    for pair in pairs[20:28]:
        prompt, output = colead.data.prompt(pair.query), []
        for done in decoding.rounds(prompt, max_new_tokens=24, sampling=plain.sampling):
            output.extend(done.tokens)
            used |= {done.plan.draft} if done.drafted else set()
        assert tuple(output) == plain.generate(prompt, max_new_tokens=24).tokens
    assert "grammar" in used
    assert len(used) > 1


def test_the_experiment_yields_a_stage_at_a_time_with_shares_and_counts():
    settings = Settings(
        labelled=8, unlabelled=40, test=3, rounds=1, first_steps=4, steps=2, width=32, layers=1
    )
    outcome = next(evolve("editing", 3, settings))
    assert (outcome.domain, outcome.seed, outcome.stage) == ("editing", 3, 1)
    assert set(outcome.exact) == set(outcome.execution) == set(KINDS)
    assert all(0 <= outcome.exact[kind] <= outcome.execution[kind] <= 1 for kind in KINDS)
    assert outcome.identical
    assert outcome.speedup > 0
    assert replace(outcome, seed=4) != outcome


def test_an_interval_is_students():
    assert Interval.of([0.5]) == Interval(0.5, None)
    interval = Interval.of([0.1, 0.2, 0.3, 0.4, 0.5])
    assert interval.mean == pytest.approx(0.3)
    assert interval.reach == pytest.approx(2.132 * 0.158114 / 5**0.5, rel=1e-4)
