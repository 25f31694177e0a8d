"""A recording of the embedded pair: real rounds do what it says, and so do drafts that are asked everywhere."""

import pytest

from paceline.core.config.load import load_config
from paceline.core.decoder import SpeculativeDecoder
from paceline.core.proposals import DraftControl
from paceline.core.records import Plan
from paceline.core.testing.doubles import ScriptedPolicy
from paceline.lab.models import load_models
from paceline.lab.recording.draft_walk import agreement
from paceline.lab.recording.reader import read_recording
from paceline.lab.recording.run import Settings, record_run
from paceline.lab.workloads.prompts import Prompt, embedded

LONGEST = 4


@pytest.fixture(scope="module")
def parts(catalogue):
    return load_models(load_config({"generation": {"max_new_tokens": 20}}, catalogue=catalogue))


@pytest.fixture(scope="module")
def prompt(parts):
    first = embedded()[0]
    return Prompt(first.name, first.kind, tuple(parts.target.codec.encode(first.text)))


@pytest.fixture(scope="module")
def taken(parts, catalogue, prompt, tmp_path_factory):
    path = tmp_path_factory.mktemp("embedded") / "r.jsonl.zst"
    result = record_run(parts, catalogue, [prompt], path, settings=Settings(longest=LONGEST), run={})
    return result, read_recording(path)


def test_real_rounds_do_what_was_recorded(taken):
    checks = taken[0].checks
    assert checks.rounds > 20
    assert checks.different == []


def test_the_models_draft_is_known_for_one_with_a_cache(taken):
    small, lookup = taken[1].header.drafts.values()
    assert (small.caches, small.short, small.match_lengths, small.scores) == (True, 1, False, True)
    assert (lookup.caches, lookup.match_lengths) == (False, True)


def test_lags_follow_from_the_recording(taken, parts, prompt):
    text, info = next(iter(taken[1])), taken[1].header.drafts["small"]
    plans = [Plan(2, "small"), Plan(1, "small"), Plan(0), Plan(4, "small"), Plan(3, "lookup")]
    decoder = SpeculativeDecoder(parts.target, parts.drafts, ScriptedPolicy(plans))
    lag, seen = text.prompt_tokens - 1, set()
    for done in decoder.rounds(prompt.tokens, max_new_tokens=20):
        if done.plan.gamma and done.plan.draft == "small":
            assert done.lag == lag
            seen.add(lag)
            lag = info.short if done.drafted == done.accepted else 0
        else:
            lag += done.emitted
    assert {0, 1} < seen


def test_a_draft_led_along_the_text_does_what_it_does_when_asked_everywhere(taken, parts, prompt):
    text = next(iter(taken[1]))
    starts, draft = text.drafts["small"], parts.drafts["small"]
    assert text.perplexity > 1.0
    for start in range(len(text.tokens)):
        session = draft.open([*prompt.tokens, *text.tokens[:start]])
        proposal = session.draft(LONGEST, DraftControl(draft.signals))
        session.close()
        assert starts.offered[start] == len(proposal) == LONGEST
        assert starts.agreed[start] == agreement(proposal.tokens, text.tokens[start:])
        assert starts.signals["token"][start].tolist() == list(proposal.tokens)
        for name in draft.signals - {"token"}:
            wanted = [one.value(name) for one in proposal.signals]
            assert starts.signals[name][start].tolist() == pytest.approx(wanted, abs=1e-4)


def test_a_sampled_recording_has_the_chances_of_both_models(parts, prompt, catalogue, tmp_path):
    drawn = load_config({"generation": {"max_new_tokens": 12, "temperature": 1.0}}, catalogue=catalogue)
    path = tmp_path / "r.jsonl"
    sampled = type(parts)(drawn, parts.target, parts.drafts)
    record_run(sampled, catalogue, [prompt], path, settings=Settings(longest=LONGEST), run={})
    text = next(iter(read_recording(path)))
    chance = text.drafts["small"].acceptance_probs
    sampling = drawn.generation.sampling()
    context = list(prompt.tokens)
    for place, token in enumerate(text.tokens):
        own, wanted = (one.open_sampled(context, sampling) for one in (parts.drafts["small"], parts.target))
        (q,), (p,) = own.score([token]), wanted.score([token])
        assert chance[place] == pytest.approx(min(1.0, q / p), rel=1e-3)
        context.append(token)
